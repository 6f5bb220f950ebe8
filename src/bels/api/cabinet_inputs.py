"""The inputs of identity: proofs, logins, documents. What is secret in them is never stored, logged or repeated."""

from __future__ import annotations

from datetime import date

import strawberry

from bels.access import documents, links
from bels.access.documents import Document
from bels.access.proofs import BillProof
from bels.api.engine.scalars import Money
from bels.api.enums import describe
from bels.api.inputs import ACCOUNT
from bels.domain.terms import Period, Word

LOGIN = 'An e-mail, a mobile phone or a name, for example "ivanova@example.ru".'
PERSON = 'The person: "u-" and sixteen characters, as `cabinet` shows it.'
REASON = "Why, in 3 to 200 characters without anybody's phone, e-mail or number; kept for the auditor."


@strawberry.enum(description="What a one-task link is for.")
class LinkTask(Word):
    """What a one-task link is for."""

    READING = "reading"
    BILL = "bill"


LINK_TASKS = {
    LinkTask.READING: "To send a reading (передать показание).",
    LinkTask.BILL: "To see a bill and pay it (оплатить счёт).",
}
DOCUMENT_KINDS = {
    documents.DocumentKind.PASSPORT: "Identity: паспорт гражданина РФ.",
    documents.DocumentKind.TEMPORARY_IDENTITY_CARD: "Identity: временное удостоверение личности.",
    documents.DocumentKind.RESIDENCE_PERMIT: "Identity: вид на жительство.",
    documents.DocumentKind.FOREIGN_PASSPORT: "Identity: паспорт иностранного гражданина.",
    documents.DocumentKind.MILITARY_CARD: "Identity: военный билет.",
    documents.DocumentKind.EGRN_EXTRACT: "Whose flat it is: выписка из ЕГРН.",
    documents.DocumentKind.SALE_CONTRACT: "Whose flat it is: договор купли-продажи, дарения, мены.",
    documents.DocumentKind.INHERITANCE_CERTIFICATE: "Whose flat it is: свидетельство о праве на наследство.",
    documents.DocumentKind.COURT_DECISION: "Whose flat it is: решение суда.",
    documents.DocumentKind.SOCIAL_TENANCY_CONTRACT: "Whose flat it is: договор социального найма.",
}
DocumentKind = strawberry.enum(
    documents.DocumentKind, name="DocumentKind", description="What kind of document an operator saw."
)
describe(LINK_TASKS)
describe(DOCUMENT_KINDS)


@strawberry.input(
    description=(
        "What stands on one of the last six bills: its month and two of the three. "
        'Example: `{period: "2026-10", toPay: "1245.05", meter: "011070118"}`.'
    )
)
class BillProofInput:
    """What stands on a bill."""

    period: Period = strawberry.field(description="The month of the bill.")
    to_pay: Money | None = strawberry.field(default=None, description="«К оплате», roubles and kopecks.")
    meter: str | None = strawberry.field(default=None, description="«Прибор учёта», the number of the meter.")
    reading: int | None = strawberry.field(default=None, description="«Текущее показание», of any zone.")


@strawberry.input(description="A new consumer, who holds a bill of the account.")
class RegisterConsumerInput:
    """A new consumer."""

    account: str = strawberry.field(description=ACCOUNT)
    proof: BillProofInput = strawberry.field(description="What stands on a bill of it.")
    login: str = strawberry.field(description=LOGIN)
    password: str = strawberry.field(
        description="10 to 128 characters, for example three words that do not belong together."
    )


@strawberry.input(description="A login and its password.")
class LogInInput:
    """A login and its password."""

    login: str = strawberry.field(description=LOGIN)
    password: str = strawberry.field(description="The password.")


@strawberry.input(description="A session that goes on.")
class RenewSessionInput:
    """A session that goes on."""

    refresh_token: str = strawberry.field(description="The last refresh token of the session; it is replaced.")


@strawberry.input(description="A session that ends.")
class LogOutInput:
    """A session that ends."""

    session: strawberry.ID | None = strawberry.field(
        default=None, description="One of `sessions`; by default the one that asks."
    )


@strawberry.input(description="A password in place of another.")
class ChangePasswordInput:
    """A password in place of another."""

    old_password: str = strawberry.field(description="The password of now, also one that the office gave.")
    new_password: str = strawberry.field(description="10 to 128 characters; another one than before.")


@strawberry.input(description="Another account for one's cabinet.")
class LinkAccountInput:
    """Another account for one's cabinet."""

    account: str = strawberry.field(description=ACCOUNT)
    proof: BillProofInput = strawberry.field(description="What stands on a bill of it.")


@strawberry.input(description="An account that leaves one's cabinet.")
class UnlinkAccountInput:
    """An account that leaves one's cabinet."""

    account: str = strawberry.field(description=ACCOUNT)


@strawberry.input(
    description=(
        "A document that an operator saw: never its whole number. "
        'Example: `{kind: PASSPORT, last: "4821", on: "2019-04-02"}`.'
    )
)
class DocumentInput:
    """A document that an operator saw."""

    kind: documents.DocumentKind = strawberry.field(description="Its kind.")
    last: str = strawberry.field(description="The last four characters of its number, no more.")
    on: date = strawberry.field(description="The day it was issued or entered into force.")


@strawberry.input(description="A forgotten password of somebody who stands at the counter.")
class ResetPasswordInput:
    """A forgotten password."""

    person: strawberry.ID = strawberry.field(description=PERSON)
    document: DocumentInput = strawberry.field(description="By which document the person was identified.")
    reason: str = strawberry.field(description=REASON)


@strawberry.input(
    description="The cabinet of a flat that has changed hands. The same document again finishes what a crash has left undone."
)
class CloseCabinetInput:
    """The cabinet of a flat that has changed hands."""

    account: str = strawberry.field(description=ACCOUNT)
    document: DocumentInput = strawberry.field(description="The document that says whose the flat is now.")
    reason: str = strawberry.field(description=REASON)


@strawberry.input(description="A person let in at the office: without a bill yet, or without a meter.")
class AdmitMemberInput:
    """A person let in at the office."""

    account: str = strawberry.field(description=ACCOUNT)
    person: strawberry.ID = strawberry.field(description=PERSON)
    document: DocumentInput = strawberry.field(description="Who it is, or whose the flat is.")
    reason: str = strawberry.field(description=REASON)


@strawberry.input(description="A person that has no login yet, let in at the office.")
class AddConsumerInput:
    """A person that has no login yet."""

    account: str = strawberry.field(description=ACCOUNT)
    login: str = strawberry.field(description='An e-mail, a mobile phone or a name, for example "ivanova@example.ru".')
    document: DocumentInput = strawberry.field(description="Who it is, or whose the flat is.")
    reason: str = strawberry.field(description=REASON)


@strawberry.input(description="A person cut off from an account at the office.")
class RemoveMemberInput:
    """A person cut off from an account."""

    account: str = strawberry.field(description=ACCOUNT)
    person: strawberry.ID = strawberry.field(description=PERSON)
    reason: str = strawberry.field(description=REASON)


@strawberry.input(description="A link for one task on one account.")
class MakeLinkInput:
    """A link for one task."""

    account: str = strawberry.field(description=ACCOUNT)
    task: LinkTask = strawberry.field(description="What it is for.")
    address: str | None = strawberry.field(
        default=None,
        description="For a gateway: the phone, chat or e-mail that gets it; it must be linked to the account.",
    )
    days: int = strawberry.field(default=links.LIVES_S // 86400, description="How many days it lives, 1 to 7.")


def proof_of(given: BillProofInput) -> BillProof:
    """Read a proof."""
    return BillProof(given.period, given.to_pay, given.meter, given.reading)


def document_of(given: DocumentInput) -> Document:
    """Read a document."""
    return Document(documents.DocumentKind(given.kind), given.last.strip(), given.on)
