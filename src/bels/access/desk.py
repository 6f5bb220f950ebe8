"""What the rules of identity are carried out with, and how every try of a secret is counted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from bels.access.passwords import Passwords
from bels.access.throttle import Throttle
from bels.access.tokens import Tokens
from bels.access.vault import Vault
from bels.intake import Intake


@dataclass(frozen=True, slots=True)
class Desk:
    """What the rules of identity are carried out with: tables, keys, hashes, the throttle, the one way in and its clock.

    ``own_people``: people log in here; otherwise an OpenID provider says who they are, and here they have no password.
    """

    pool: asyncpg.Pool
    vault: Vault
    passwords: Passwords
    throttle: Throttle
    tokens: Tokens
    intake: Intake
    own_people: bool = True


@dataclass(slots=True)
class Try:
    """A try under way: whoever makes it says whether it was right."""

    right: bool = False


@asynccontextmanager
async def tried(desk: Desk, address: str, *tries: tuple[str, str]) -> AsyncIterator[Try]:
    """Count tries before they are made, and say afterwards what became of them.

    :raises TooManyAttempts: one of them must wait.
    """
    attempt, counted = Try(), []
    try:
        for what, identity in tries:
            await desk.throttle.check(what, identity, address)
            counted.append((what, identity))
        yield attempt
    except Exception:
        for what, identity in counted:
            await desk.throttle.withdrawn(what, identity, address)
        raise
    for what, identity in counted:
        tell = desk.throttle.succeeded if attempt.right else desk.throttle.failed
        await tell(what, identity, address)
