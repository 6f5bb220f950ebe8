"""Who asks. Until identity comes, the server listens on loopback only and the caller is the developer at this machine."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

from bels.domain.terms import Channel, Role


@dataclass(frozen=True, slots=True)
class Caller:
    """Who speaks: the channel that the credential is, the actor's name without personal data, and the role."""

    channel: Channel
    actor: str
    role: Role


LOCAL_CALLERS: dict[Role, Caller] = {
    Role.CONSUMER: Caller(Channel.WEB, "local:consumer", Role.CONSUMER),
    Role.AGENT: Caller(Channel.BANK, "local:agent", Role.AGENT),
    Role.OPERATOR: Caller(Channel.OFFICE, "local:operator", Role.OPERATOR),
    Role.INSPECTOR: Caller(Channel.INSPECTOR, "local:inspector", Role.INSPECTOR),
    Role.SYSTEM: Caller(Channel.CLOSING, "local:operator", Role.SYSTEM),
}
"""On loopback every operation is allowed, each under the role that it belongs to."""

SENDER_DIGEST_SIZE = 16


def sender_digest(address: str, key: bytes) -> str:
    """Digest a phone, chat or e-mail under this installation's key, so that no address stands in an event."""
    return blake2b(address.strip().lower().encode(), key=key, digest_size=SENDER_DIGEST_SIZE).hexdigest()
