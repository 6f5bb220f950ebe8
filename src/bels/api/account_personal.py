"""What an account has of personal data: who lives there now, for the household and the office; a masked name for whoever pays."""

from __future__ import annotations

import strawberry

from bels.access import personal
from bels.access.callers import Sight
from bels.access.personal import Personal, subject_of
from bels.access.tenures import find_tenure
from bels.api.account_money import AccountMoney
from bels.api.context import Info


@strawberry.type(description="Who lives there and how they are reached; of the household of now, of nobody before it.")
class PersonalData:
    """Who lives there and how they are reached."""

    name: str | None = strawberry.field(description="As in documents, the surname first.")
    address: str | None = strawberry.field(description="The address as it stands on a bill.")
    phones: list[str] = strawberry.field(description="Phones, as +79161234567.")
    emails: list[str] = strawberry.field(description="E-mails, in lower case, the domain in Unicode.")

    @classmethod
    def of(cls, kept: Personal) -> PersonalData:
        """Show what is kept."""
        return cls(name=kept.name, address=kept.address, phones=list(kept.phones), emails=list(kept.emails))


@strawberry.type
class AccountPersonal(AccountMoney):
    """What an account has of personal data; no type of the schema."""

    @strawberry.field(description="Who lives there now; null where nothing is kept, or it was erased.")
    async def personal_data(self, info: Info) -> PersonalData | None:
        """Unseal the personal data of the household of now."""
        kept = await _kept(info, self.number)
        return PersonalData.of(kept) if kept is not None else None

    @strawberry.field(
        description=(
            "The name as banks show a payee's: enough to see a wrong account, too little to learn who lives there. "
            "Null where none is kept."
        )
    )
    async def masked_name(self, info: Info) -> str | None:
        """Unseal the name and mask it."""
        kept = await _kept(info, self.number)
        return personal.masked(kept.name) if kept is not None and kept.name else None


async def _kept(info: Info, number: str) -> Personal | None:
    context = info.context
    sights = context.caller.sights
    async with context.app.pool.acquire() as db:
        tenure = await find_tenure(db, number)
        # Whoever sees an account from somewhere on must see it from where the household of now does: between a sale and the
        # moment at which its process hears of it, a caller may still have the sight of the one before.
        if sights is not None and sights.get(number) != Sight(tenure.entry, tenure.period or None):
            return None
        return await personal.find(db, context.app.door.vault, subject_of(number, tenure.number))
