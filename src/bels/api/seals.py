"""Seals, their proofs, and the keys that signed them."""

from __future__ import annotations

import asyncio
import logging
from base64 import b64encode
from datetime import datetime
from typing import Annotated, Union

import msgspec
import strawberry

from bels.access.master_key import MasterKeyError
from bels.access.tenures import is_account
from bels.api.context import Info
from bels.api.engine.paging import Connection, connect, read_page
from bels.api.engine.scalars import BadUserInputError
from bels.api.messages import TryLaterError, or_later
from bels.api.objects import After, First
from bels.audit.seals import proofs, reading, statement
from bels.audit.seals.keys import PublicKey, list_keys
from bels.audit.seals.proofs import SealsMissingError
from bels.audit.seals.sealing import WAIT_S, SealingError, SealingUnderWayError, seal_journal
from bels.audit.seals.statement import SealError
from bels.journal.journal import RULEBOOK

logger = logging.getLogger(__name__)

LOCK_WAIT_S = 2.0
"""How long it waits for another seal that is being made: whoever waits has a connection of the pool."""

ANSWER_WAIT_S = 3.0
"""How long a request waits for its seal: an operation has five seconds, and a large journal takes more."""

NOT_SEALED = "Печать не поставлена: прежних печатей не хватает или они изменены. Сверьте их с копиями, которые хранятся отдельно."
BEGUN = "Печать ставится; когда она готова, её показывает latestSeal."

SealNumber = Annotated[int, strawberry.argument(description="The number of the seal.")]


@strawberry.type(
    description="The heads of all accounts in a Merkle tree (RFC 9162), signed: whoever keeps it can prove what the journal was."
)
class Seal:
    """A seal."""

    number: int = strawberry.field(description="Its number, from 1 on without gaps.")
    sealed_at: datetime = strawberry.field(description="When.")
    accounts: int = strawberry.field(description="How many streams of entries its tree has.")
    entries: int = strawberry.field(description="How many entries they have together.")
    heads: str = strawberry.field(description="The root over their heads, in hexadecimal.")
    log: str = strawberry.field(description="The root over the seals before it, in hexadecimal.")
    faults: list[str] = strawberry.field(
        description="Streams that were not what had been sealed, and from which entry on; the first hundred."
    )
    key: str = strawberry.field(description="The name of the key that signed it.")
    signature: str = strawberry.field(description="Ed25519, base64.")
    text: str = strawberry.field(description="The whole seal as it is published, to be kept: JSON.")

    @classmethod
    def of(cls, seal: statement.Seal) -> Seal:
        """Show a seal."""
        return cls(
            number=seal.number,
            sealed_at=seal.sealed_at,
            accounts=seal.accounts,
            entries=seal.entries,
            heads=seal.heads.hex(),
            log=seal.log.hex(),
            faults=list(seal.faults),
            key=seal.key,
            signature=b64encode(seal.signature).decode(),
            text=statement.published(seal),
        )


@strawberry.type(description="The public half of a key that signs seals.")
class SealKey:
    """A public key."""

    name: str = strawberry.field(description="As seals name it: the first 16 hexadecimal digits of its SHA-256.")
    public: str = strawberry.field(description="Its 32 raw bytes, in hexadecimal.")
    created_at: datetime = strawberry.field(description="Since when it may sign.")

    @classmethod
    def of(cls, key: PublicKey) -> SealKey:
        """Show a key."""
        return cls(name=key.key, public=key.public.hex(), created_at=key.created_at)


@strawberry.type(description="That an entry was the last one of its account in the tree of a seal (RFC 9162, 2.1.3).")
class SealProof:
    """A proof of inclusion."""

    seal: Seal = strawberry.field(description="The seal.")
    account_number: str = strawberry.field(description="The account, or `rulebook`.")
    version: int = strawberry.field(description="The entry.")
    digest: str = strawberry.field(description="Its digest, in hexadecimal.")
    index: int = strawberry.field(description="The place of its leaf in the tree, from 0 on.")
    size: int = strawberry.field(description="How many leaves the tree has.")
    path: list[str] = strawberry.field(description="The nodes from the leaf to the root, in hexadecimal.")
    text: str = strawberry.field(
        description="The whole proof as `verify_evidence.py --proof` reads it, and as it stands in an evidence pack: JSON."
    )

    @classmethod
    def of(cls, proof: proofs.Proof) -> SealProof:
        """Show a proof."""
        return cls(
            seal=Seal.of(proof.seal),
            account_number=proof.account,
            version=proof.version,
            digest=proof.digest.hex(),
            index=proof.index,
            size=proof.size,
            path=[step.hex() for step in proof.path],
            text=msgspec.json.encode(proof.said).decode(),
        )


@strawberry.type(description="That a seal counts an earlier one and all that were before that (RFC 9162, 2.1.4).")
class SealConsistency:
    """A proof of consistency."""

    first: Seal = strawberry.field(description="The earlier seal.")
    second: Seal = strawberry.field(description="The later one.")
    path: list[str] = strawberry.field(
        description="From the log of the first, over `first.number - 1` seals, to that of the second; in hexadecimal."
    )
    inclusion: list[str] = strawberry.field(
        description="From the first seal, leaf `first.number - 1`, to the log of the second; in hexadecimal."
    )

    @classmethod
    def of(cls, found: proofs.Consistency) -> SealConsistency:
        """Show a proof."""
        return cls(
            first=Seal.of(found.first),
            second=Seal.of(found.second),
            path=[step.hex() for step in found.path],
            inclusion=[step.hex() for step in found.inclusion],
        )


@strawberry.type
class SealQuery:
    """What may be asked of it; no type of the schema."""

    @strawberry.field(description="The newest seal; null before the first one.")
    async def latest_seal(self, info: Info) -> Seal | None:
        """Find the newest seal."""
        async with info.context.app.pool.acquire() as db:
            found = await reading.latest_seal(db)
        return Seal.of(found) if found is not None else None

    @strawberry.field(description="A seal by its number; also without signing in at `/seals/NUMBER.json`.")
    async def seal(self, info: Info, number: SealNumber) -> Seal | None:
        """Find a seal."""
        async with info.context.app.pool.acquire() as db:
            found = await reading.find_seal(db, number)
        return Seal.of(found) if found is not None else None

    @strawberry.field(description="All seals, newest first.")
    async def seals(self, info: Info, first: First = None, after: After = None) -> Connection[Seal]:
        """List seals."""
        page = read_page(first=first, after=after, kinds=(int,))
        before = int(str(page.after[0])) if page.after is not None else None
        async with info.context.app.pool.acquire() as db:
            rows = await reading.seals_before(db, before, page.limit)
        return connect(rows, page, node=Seal.of, key=lambda row: (row.number,))

    @strawberry.field(description="The public keys that ever signed seals, the oldest first.")
    async def seal_keys(self, info: Info) -> list[SealKey]:
        """List public keys."""
        async with info.context.app.pool.acquire() as db:
            keys = await list_keys(db)
        return [SealKey.of(each) for each in keys]

    @strawberry.field(
        description="Prove what an account's last entry was when a seal was made; null where the seal does not know the account."
    )
    async def seal_proof(
        self,
        info: Info,
        account: Annotated[str, strawberry.argument(description="Seven digits; `rulebook` for the rules.")],
        seal: Annotated[int | None, strawberry.argument(description="By which seal; the newest by default.")] = None,
    ) -> SealProof | None:
        """Prove an account's head."""
        if account != RULEBOOK and not is_account(account):
            return None
        sight = info.context.see(account)
        if sight is None:
            return None
        async with info.context.app.pool.acquire() as db:
            found = await proofs.prove(db, account, seal)
        # What was there before the household of now is not its own.
        return SealProof.of(found) if found is not None and found.version > sight.entry else None

    @strawberry.field(description="Prove that a seal counts an earlier one; null where one of them is not there.")
    async def seal_consistency(
        self,
        info: Info,
        first: Annotated[int, strawberry.argument(description="The number of the earlier seal.")],
        second: Annotated[int, strawberry.argument(description="The number of the later seal.")],
    ) -> SealConsistency | None:
        """Prove that two seals tell one story."""
        if first > second:
            raise BadUserInputError("`first` must be the number of the earlier seal.")
        async with info.context.app.pool.acquire() as db:
            try:
                found = await proofs.consistency(db, first, second)
            except SealsMissingError:
                # There is none, and that is the answer: a verification says what is missing.
                found = None
        return SealConsistency.of(found) if found is not None else None


@strawberry.input(description="What is to be sealed: the journal as it is now. Example: `{after: 17}`.")
class SealJournalInput:
    """What is to be sealed."""

    after: int | None = strawberry.field(
        default=None,
        description="The newest seal that you know: where there is a newer one it is given, and none is made. So the same may be sent again.",
    )


@strawberry.type(description="The journal is sealed.")
class JournalSealed:
    """The journal is sealed."""

    seal: Seal = strawberry.field(description="The seal.")
    replayed: bool = strawberry.field(description="Whether it was there already.")


@strawberry.type(description="The journal is large: the seal is being made.")
class SealingBegun:
    """The seal is being made."""

    text: str = strawberry.field(description="Where it will be found, for a person (Russian).")


@strawberry.type(description="No seal was made: seals of before are missing, or were changed.")
class JournalNotSealed:
    """No seal was made."""

    text: str = strawberry.field(description="What to do, for a person (Russian).")


SealJournalResult = Annotated[
    Union[JournalSealed, SealingBegun, JournalNotSealed],  # noqa: UP007
    strawberry.union("SealJournalResult", description="Whether the journal is sealed."),
]


@strawberry.type
class SealMutation:
    """What may be done about it; no type of the schema."""

    @strawberry.mutation(description="Seal the journal now (administrator); every night it is sealed by itself.")
    async def seal_journal(self, info: Info, input: SealJournalInput) -> SealJournalResult:
        """Seal the journal."""
        supplier = info.context.app
        try:
            with or_later():
                if input.after is not None:
                    async with supplier.pool.acquire() as db:
                        newest = await reading.latest_seal(db)
                    if newest is not None and newest.number > input.after:
                        return JournalSealed(seal=Seal.of(newest), replayed=True)
                now = supplier.intake.clock()
                sealing = asyncio.create_task(seal_journal(supplier.pool, supplier.door.vault, now, wait_s=LOCK_WAIT_S))
                # The loop keeps a task that is to be cancelled later: it goes on when nobody waits for it any more.
                ending = asyncio.get_running_loop().call_later(WAIT_S, sealing.cancel)
                sealing.add_done_callback(lambda _: ending.cancel())
                done, _ = await asyncio.wait({sealing}, timeout=ANSWER_WAIT_S)
                if not done:
                    sealing.add_done_callback(_say)
                    return SealingBegun(text=BEGUN)
                return JournalSealed(seal=Seal.of(sealing.result()), replayed=False)
        except SealingUnderWayError:
            return SealingBegun(text=BEGUN)
        except (SealingError, SealError):
            return JournalNotSealed(text=NOT_SEALED)
        except MasterKeyError:
            raise TryLaterError from None


def _say(sealing: asyncio.Task[statement.Seal]) -> None:
    """Say in the log why a seal was not made for which nobody waited any more."""
    error = None if sealing.cancelled() else sealing.exception()
    if sealing.cancelled() or error is not None:
        logger.error("the journal was not sealed: %s", error or "it took too long")
