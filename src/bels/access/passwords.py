"""Passwords: what may be one, and their Argon2id hashes, made in threads of their own, few at once."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from unicodedata import category, normalize

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

PASSWORD_LENGTH_MIN = 10
PASSWORD_LENGTH_MAX = 128
DISTINCT_MIN = 5
"""How many different characters a password has at least: a length of one key held down is no length."""

MEMORY_KIB = 19 * 1024
PASSES = 2
LANES = 1

HASHES_AT_ONCE = 2
HASHES_WAITING_MAX = 64
"""How many more wait for their turn; one takes some 20 ms of a core, so on two cores the last of them waits a second or two."""

NEW_PASSWORD_GROUPS = 4
NEW_PASSWORD_GROUP = 5
_READABLE = "abcdefghjkmnpqrstuvwxyz23456789"

_COMMON_TEXT = """
1234567890 0123456789 0987654321 9876543210 1234567891 12345678910 123456789a 123456789q 123456789qwe 1q2w3e4r5t
1q2w3e4r5t6y 1qaz2wsx3edc 1qazxsw23edc q1w2e3r4t5 q1w2e3r4t5y6 qwertyuiop qwertyuiop1 qwerty1234 qwerty12345
qwerty123456 qwertyqwerty qweasdzxc123 asdfghjkl1 asdfghjkl; zxcvbnm123 password12 password123 password1234
passw0rd123 administrator administrator1 iloveyou123 abcdefghij abcd123456 abc1234567 a123456789 z123456789
йцукенгшщз йцукенгшщзхъ йцукен1234 йцукен12345 йцукен123456 фывапролдж фывапролджэ ячсмитьбюю пароль1234
пароль12345 пароль123456 парольпароль электричество электроэнергия энергосбыт любимаямама привет12345
"""
_COMMON = frozenset(_COMMON_TEXT.split())

TOO_SHORT = f"Пароль короче {PASSWORD_LENGTH_MIN} знаков. Проще всего взять три-четыре слова, которые не стоят рядом: их легко запомнить."
TOO_LONG = f"Пароль длиннее {PASSWORD_LENGTH_MAX} знаков. Сократите его."
NOT_TEXT = (
    "В пароле есть знаки, которые нельзя набрать. Наберите его с клавиатуры: буквы, цифры, пробелы и знаки препинания."
)
TOO_PLAIN = "В пароле почти одни и те же знаки. Возьмите три-четыре слова, которые не стоят рядом."
COMMON = "Этот пароль подбирают одним из первых. Возьмите три-четыре слова, которые не стоят рядом."
IS_LOGIN = "Пароль повторяет логин. Возьмите три-четыре слова, которые с логином не связаны."


class PasswordError(ValueError):
    """The text cannot be a password; the sentence is Russian and says how to do it right."""


class Busy(Exception):
    """Too many passwords are being checked: the caller is told to try again in ``wait_s``."""

    wait_s = 2


def checked_password(password: str, login: str | None = None) -> str:
    """Give a password in the form in which it is hashed: NFKC, so that another keyboard's form of it is the same.

    There is no rule of composition: length, and not being among the first guesses, is what counts (NIST SP 800-63B).

    :raises PasswordError: it is too short, too long, too plain, or the login itself (as ``normalised_login`` gives it).
    """
    if len(password) > PASSWORD_LENGTH_MAX:
        raise PasswordError(TOO_LONG)
    plain = _normalised(password)
    if len(plain) > PASSWORD_LENGTH_MAX:
        raise PasswordError(TOO_LONG)
    if any(category(each) in ("Cc", "Cs", "Cn") for each in plain):
        raise PasswordError(NOT_TEXT)
    if len(plain) < PASSWORD_LENGTH_MIN:
        raise PasswordError(TOO_SHORT)
    folded = plain.casefold()
    if login is not None and _is_login(folded, login.casefold()):
        raise PasswordError(IS_LOGIN)
    if folded in _COMMON:
        raise PasswordError(COMMON)
    if len(set(folded)) < DISTINCT_MIN:
        raise PasswordError(TOO_PLAIN)
    return plain


def new_password() -> str:
    """Make a password to be shown once: letters and digits that are not mistaken for each other, 99 bits."""
    return "-".join(
        "".join(secrets.choice(_READABLE) for _ in range(NEW_PASSWORD_GROUP)) for _ in range(NEW_PASSWORD_GROUPS)
    )


def _hasher() -> PasswordHasher:
    return PasswordHasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=LANES)


@cache
def _hash_of_nobody() -> str:
    """Hash a password that nobody knows, once in a process: an unknown login is verified against it, and takes as long as a known one."""
    return _hasher().hash(secrets.token_urlsafe())


class Passwords:
    """Hash and verify passwords with Argon2id (19 MiB, two passes, one lane: OWASP's choice for servers).

    Threads of its own, because hashing holds a core: ``HASHES_AT_ONCE`` run, ``HASHES_WAITING_MAX`` more wait, whoever
    comes then is told to come again, so that a flood of logins cannot hold the rest of the process.
    """

    def __init__(self, at_once: int = HASHES_AT_ONCE, waiting_max: int = HASHES_WAITING_MAX) -> None:
        self._hasher = _hasher()
        self._threads = ThreadPoolExecutor(at_once, "password")
        self._places = at_once + waiting_max
        self._nobody = _hash_of_nobody()

    async def hash(self, password: str, login: str | None = None) -> str:
        """Hash a new password.

        :raises PasswordError: it cannot be one.
        :raises Busy: too many are being hashed.
        """
        plain = checked_password(password, login)
        with self._place():
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._hasher.hash, plain)

    async def verify(self, hashed: str | None, password: str) -> bool:
        """Say whether it is the password; None stands for nobody's, takes the same time and is never right.

        :raises Busy: too many are being verified.
        """
        with self._place():
            right = await asyncio.get_running_loop().run_in_executor(
                self._threads, self._verified, self._nobody if hashed is None else hashed, password
            )
        return right and hashed is not None

    def needs_rehash(self, hashed: str) -> bool:
        """Say whether a hash was made with other parameters than today's: it is made anew at the next log-in."""
        return self._hasher.check_needs_rehash(hashed)

    def close(self) -> None:
        """Let the threads go."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _verified(self, hashed: str, password: str) -> bool:
        # What cannot be a password is still verified, as an empty one: every answer takes the same time.
        try:
            plain = _normalised(password).encode() if len(password) <= PASSWORD_LENGTH_MAX else b""
        except UnicodeEncodeError:
            plain = b""
        try:
            return self._hasher.verify(hashed, plain)
        except VerifyMismatchError:
            return False
        except (InvalidHashError, VerificationError) as error:
            raise RuntimeError("a stored password hash cannot be read") from error

    @contextmanager
    def _place(self) -> Iterator[None]:
        if not self._places:
            raise Busy
        self._places -= 1
        try:
            yield
        finally:
            # A caller who has gone takes a hash that waits with it; the few that run are bounded by the threads.
            self._places += 1


def _normalised(password: str) -> str:
    return normalize("NFKC", password)


def _is_login(password: str, login: str) -> bool:
    if login.startswith("+7") and "".join(c for c in password if c.isdigit())[-10:] == login[2:]:
        return True
    return password in (login, login[::-1], login.partition("@")[0])
