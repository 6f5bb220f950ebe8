"""Personal data over GraphQL, for operators of personal data: found by phone or e-mail, set, erased with an act.

What these fields are given goes from the resolver into the vault and nowhere else: no message to intake, no journal, no log.
"""

from __future__ import annotations

from typing import Annotated

import strawberry

from bels.access import acts, personal
from bels.access.acts import Act
from bels.access.documents import is_note
from bels.access.personal import (
    ContactKind,
    NothingToErase,
    Personal,
    PersonalDataError,
    normalised,
    subject_of,
)
from bels.access.tenures import find_tenure, hold_account
from bels.access.words import AccessReason, Refused
from bels.api.account_personal import PersonalData
from bels.api.accounts import Account, find_account
from bels.api.cabinet_inputs import REASON
from bels.api.cabinets import IdentityRefused, Paths
from bels.api.context import Info
from bels.api.engine.scalars import BadUserInputError
from bels.api.inputs import ACCOUNT
from bels.domain.terms import Reason
from bels.journal.write import Db
from bels.projections import overview

ACCOUNTS_MAX = 20
"""Accounts shown of one phone or e-mail; a landlord's caretaker may have more, and is asked for the address."""

OF_ERASURE: Paths = {AccessReason.NO_PERSONAL_DATA: ["input", "tenure"]}

Phone = Annotated[
    str | None, strawberry.argument(description='The whole phone, however it is written: "8 916 123-45-67".')
]
Email = Annotated[str | None, strawberry.argument(description='The whole e-mail: "ivanova@example.ru".')]


@strawberry.input(
    description=(
        "Who lives there and how they are reached, whole: what is not named here is kept no more. Example: "
        '`{account: "1000101", name: "Иванов Пётр Сергеевич", address: "г. Балашиха, ул. Новая, д. 1, кв. 2", '
        'phones: ["+7 916 123-45-67"], emails: ["ivanov@example.ru"], reason: "заявление в офисе"}`.'
    )
)
class SetPersonalDataInput:
    """Who lives there and how they are reached."""

    account: str = strawberry.field(description=ACCOUNT)
    name: str | None = strawberry.field(default=None, description="As in documents, the surname first; at most 200.")
    address: str | None = strawberry.field(default=None, description="The address; at most 400 characters.")
    phones: list[str] = strawberry.field(default_factory=list, description="At most 10, the first one is called first.")
    emails: list[str] = strawberry.field(default_factory=list, description="At most 10, the first one is written to.")
    reason: str = strawberry.field(description=REASON)


@strawberry.input(
    description=(
        "Whose personal data are erased, and why. Example: "
        '`{account: "1000101", tenure: 1, reason: "отзыв согласия", document: "заявление от 02.04.2026, № …417"}`.'
    )
)
class ErasePersonalDataInput:
    """Whose personal data are erased, and why."""

    account: str = strawberry.field(description=ACCOUNT)
    tenure: int = strawberry.field(
        description="Which household of the flat, from 1 on; `cabinet` tells the one of now."
    )
    reason: str = strawberry.field(description=REASON)
    document: str | None = strawberry.field(
        default=None, description="The document it rests on: its kind, its day, the end of its number; at most 200."
    )


@strawberry.type(description="Personal data that were set, as they are kept from now on.")
class PersonalDataSet:
    """Personal data that were set."""

    account_number: str = strawberry.field(description="The account.")
    tenure: int = strawberry.field(description="Which household of the flat, from 1 on.")
    personal_data: PersonalData = strawberry.field(
        description="As they are kept: each phone and e-mail in its one form."
    )

    @strawberry.field(description="The account.")
    async def account(self, info: Info) -> Account | None:
        """Find the account."""
        return await find_account(info, self.account_number)


@strawberry.type(description="Personal data that were erased for ever, with the act of it.")
class PersonalDataErased:
    """Personal data that were erased for ever."""

    account_number: str = strawberry.field(description="The account.")
    tenure: int = strawberry.field(description="Which household of the flat, from 1 on.")
    act: int = strawberry.field(description="The number of the act.")
    text: str = strawberry.field(description="The act in Russian, to be signed; it names nobody.")
    replayed: bool = strawberry.field(description="They had been erased before; this is the act of it.")


SetPersonalDataResult = Annotated[
    PersonalDataSet | IdentityRefused,
    strawberry.union("SetPersonalDataResult", description="Whether the personal data are kept."),
]
ErasePersonalDataResult = Annotated[
    PersonalDataErased | IdentityRefused,
    strawberry.union("ErasePersonalDataResult", description="Whether the personal data are erased."),
]


@strawberry.type
class PersonalQuery:
    """What may be asked by personal data; no type of the schema."""

    @strawberry.field(
        description="Accounts whose household of now has exactly this phone or this e-mail: one of them; at most 20 accounts."
    )
    async def accounts_by_contact(self, info: Info, phone: Phone = None, email: Email = None) -> list[Account]:
        """Find accounts by a phone or an e-mail."""
        if (phone is None) == (email is None):
            raise BadUserInputError("Name either `phone` or `email`.")
        context = info.context
        kind, text = (ContactKind.PHONE, phone or "") if email is None else (ContactKind.EMAIL, email)
        async with context.app.pool.acquire() as db:
            try:
                found = await personal.households(db, context.app.door.vault, kind, text, ACCOUNTS_MAX)
            except PersonalDataError:
                told = "`phone` is no phone" if email is None else "`email` is no e-mail"
                raise BadUserInputError(f"{told}.") from None
            rows = await overview.find(db, found)
        seen = {number: sight for number in found if (sight := context.see(number)) is not None}
        return [Account.of(rows[number], sight) for number, sight in seen.items() if number in rows]


@strawberry.type
class PersonalMutation:
    """What may be done with personal data; no type of the schema."""

    @strawberry.mutation(
        description="Keep the personal data of the household of now, in place of what was kept (operator)."
    )
    async def set_personal_data(self, info: Info, input: SetPersonalDataInput) -> SetPersonalDataResult:
        """Set personal data."""
        context = info.context
        if not is_note(input.reason):
            return IdentityRefused.of(Refused(AccessReason.BAD_NOTE))
        given = Personal(input.name, input.address, tuple(input.phones), tuple(input.emails))
        async with context.app.pool.acquire() as db:
            if not await _is_there(info, db, input.account):
                return IdentityRefused.of(Refused(Reason.UNKNOWN_ACCOUNT))
            try:
                kept = normalised(given)
                async with db.transaction():
                    # No sale comes between: what was meant for one household is not kept for the next.
                    await hold_account(db, input.account)
                    tenure = (await find_tenure(db, input.account)).number
                    subject = subject_of(input.account, tenure)
                    await personal.put(db, context.app.door.vault, subject, kept)
                    await acts.record(
                        db,
                        Act.PERSONAL_DATA_SET,
                        by=context.caller.subject,
                        subject=subject,
                        account=input.account,
                        reason=input.reason.strip(),
                        request_id=context.request_id,
                    )
            except personal.PersonalDataErased:
                return IdentityRefused.of(Refused(AccessReason.PERSONAL_DATA_ERASED))
            except PersonalDataError as error:
                return IdentityRefused.of(Refused(AccessReason.BAD_PERSONAL_DATA, text=str(error)))
        return PersonalDataSet(account_number=input.account, tenure=tenure, personal_data=PersonalData.of(kept))

    @strawberry.mutation(
        description="Erase the personal data of a household for ever: its key is destroyed, an act says so (operator)."
    )
    async def erase_personal_data(self, info: Info, input: ErasePersonalDataInput) -> ErasePersonalDataResult:
        """Erase personal data."""
        context = info.context
        if not is_note(input.reason):
            return IdentityRefused.of(Refused(AccessReason.BAD_NOTE))
        subject = subject_of(input.account, input.tenure)
        async with context.app.pool.acquire() as db:
            if not await _is_there(info, db, input.account):
                return IdentityRefused.of(Refused(Reason.UNKNOWN_ACCOUNT))
            replayed = False
            try:
                await personal.erase(
                    db,
                    context.app.door.vault,
                    subject,
                    by=context.caller.subject,
                    reason=input.reason.strip(),
                    document=input.document,
                    request_id=context.request_id,
                )
            except NothingToErase:
                replayed = True
            except PersonalDataError as error:
                return IdentityRefused.of(Refused(AccessReason.BAD_DOCUMENT, text=str(error)))
            act = await acts.last(db, Act.PERSONAL_DATA_ERASED, subject)
        if act is None:
            return IdentityRefused.of(Refused(AccessReason.NO_PERSONAL_DATA), OF_ERASURE)
        return PersonalDataErased(
            account_number=input.account,
            tenure=input.tenure,
            act=act.act,
            text=personal.act_text(act),
            replayed=replayed,
        )


async def _is_there(info: Info, db: Db, account: str) -> bool:
    return info.context.see(account) is not None and account in await overview.find(db, [account])
