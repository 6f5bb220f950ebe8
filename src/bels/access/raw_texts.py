"""What people wrote, kept for ever and for nobody: the raw words of a message are sealed where they hold more than a reading.

The seal is deterministic (AES-SIV, RFC 5297): the same words give the same text, so a message that comes twice is still known.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error
from re import compile as pattern

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from bels.domain.read_value import holds_contact

SEALED = "sealed:"
_PLAIN = pattern(r"[\d\s#.,;:*/+-]*")
_WORD = pattern(r"[А-Яа-яЁё]{3,}")
_LONG_NUMBER = pattern(r"(?:\d[\s().-]*){9,}")


class RawTexts:
    """Seals and opens raw words under a key of the installation (32 bytes)."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESSIV(key)

    def kept(self, text: str, *also: str) -> str:
        """Give a text as it may be kept: as it is where these words (by default itself) are digits of a reading, else sealed."""
        words = also or (text,)
        plain = all(_PLAIN.fullmatch(each) and not _LONG_NUMBER.search(each) for each in words)
        return text if plain else self.sealed(text)

    def guarded(self, text: str) -> str:
        """Give a text as it may be kept: sealed where it holds what looks like a phone or an e-mail, or a Russian word."""
        personal = holds_contact(text) or (not text.isascii() and _WORD.search(text))
        return self.sealed(text) if personal else text

    def sealed(self, text: str) -> str:
        """Seal a text; one that is sealed already stays as it is."""
        if text.startswith(SEALED) and self.opened(text) != text:
            # Whoever only writes the word before his own words has sealed nothing.
            return text
        return SEALED + b64encode(self._cipher.encrypt(text.encode("utf-8", "surrogatepass"), None)).decode()

    def opened(self, text: str) -> str:
        """Open a text; one that was never sealed, or under another key, is given as it is."""
        if not text.startswith(SEALED):
            return text
        try:
            return self._cipher.decrypt(b64decode(text[len(SEALED) :], validate=True), None).decode(
                "utf-8", "surrogatepass"
            )
        except (InvalidTag, Error, ValueError):
            return text
