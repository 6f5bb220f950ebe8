"""Who looked at what, and what was done to credentials, cabinets and keys: for auditors and administrators."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import strawberry

from bels.access import access_log, acts
from bels.access.access_log import ReadRow
from bels.access.acts import ActRow
from bels.access.callers import Kind
from bels.api.context import Info
from bels.api.engine.paging import Connection, connect, read_page
from bels.api.enums import describe
from bels.api.objects import After, First

ActKind = strawberry.enum(acts.Act, name="ActKind", description="What was done to a credential, a cabinet or a key.")
CallerKind = strawberry.enum(Kind, name="CallerKind", description="The kinds of callers.")

describe({act: f"{act.value.replace('_', ' ').capitalize()}." for act in acts.Act})
describe(
    {
        Kind.ANONYMOUS: "Nobody signed in.",
        Kind.CONSUMER: "A person with a cabinet.",
        Kind.LINK: "Whoever holds a one-task link.",
        Kind.PARTNER: "A bank or a payment app.",
        Kind.GATEWAY: "SMS, voice, mail, a bot: its credential is its channel.",
        Kind.OPERATOR: "An operator of the office.",
        Kind.INSPECTOR: "An inspector of meters.",
        Kind.AUDITOR: "An auditor: reads, and changes nothing.",
        Kind.ADMINISTRATOR: "Gives and takes credentials.",
        Kind.LOCAL: "The developer at this machine.",
    }
)

OfAccount = Annotated[str | None, strawberry.argument(description="Only those about this account: seven digits.")]
OfSubject = Annotated[
    str | None, strawberry.argument(description="Only those of this person or client: u-... or c-...")
]

Since = Annotated[datetime | None, strawberry.argument(description="Only those from this moment on.")]
Until = Annotated[datetime | None, strawberry.argument(description="Only those before this moment.")]


@strawberry.type(description="One request of somebody of the staff: what it asked for, at which accounts it looked.")
class AccessRecord:
    """One request of somebody of the staff."""

    number: int = strawberry.field(description="Its number; grows.")
    at: datetime = strawberry.field(description="When.")
    subject: str = strawberry.field(description="Who, without a name: u-...")
    kind: Kind = strawberry.field(description="What it is to us.")
    request_id: str = strawberry.field(description="The request, as in the logs.")
    fields: list[str] = strawberry.field(
        description="The root fields it asked for, what it was shown of personal data; of an export its filter and count."
    )
    accounts: list[str] = strawberry.field(description="The accounts it looked at.")

    @classmethod
    def of(cls, row: ReadRow) -> AccessRecord:
        """Show a row."""
        return cls(
            number=row.read,
            at=row.at,
            subject=row.subject,
            kind=Kind(row.kind),
            request_id=row.request_id,
            fields=list(row.fields),
            accounts=list(row.accounts),
        )


@strawberry.type(description="What was done to a credential, a cabinet or a key: by whom, why, on which document.")
class IdentityAct:
    """What was done to a credential, a cabinet or a key."""

    number: int = strawberry.field(description="Its number; grows.")
    at: datetime = strawberry.field(description="When.")
    kind: acts.Act = strawberry.field(description="What was done.")
    by_subject: str = strawberry.field(description="Who did it, without a name.")
    subject: str = strawberry.field(description="To whom: a person, a client, a key.")
    account: str | None = strawberry.field(description="Which account it was about.")
    reason: str | None = strawberry.field(description="Why.")
    document: str | None = strawberry.field(description="The document it rests on: its kind and the end of its number.")
    request_id: str = strawberry.field(description="The request, as in the logs; empty for the command line.")

    @classmethod
    def of(cls, row: ActRow) -> IdentityAct:
        """Show a row."""
        return cls(
            number=row.act,
            at=row.at,
            kind=row.kind,
            by_subject=row.by_subject,
            subject=row.subject,
            account=row.account,
            reason=row.reason,
            document=row.document,
            request_id=row.request_id,
        )


@strawberry.type
class RecordQuery:
    """What may be asked of the records of access; no type of the schema."""

    @strawberry.field(
        description="Every read by staff and auditors, of the API, of pages and files, newest first; reading it is recorded too."
    )
    async def access_records(
        self,
        info: Info,
        first: First = None,
        after: After = None,
        account: OfAccount = None,
        subject: OfSubject = None,
        since: Since = None,
        until: Until = None,
    ) -> Connection[AccessRecord]:
        """List reads."""
        page = read_page(first=first, after=after, kinds=(int,))
        before = int(str(page.after[0])) if page.after is not None else None
        async with info.context.app.pool.acquire() as db:
            rows = await access_log.page(
                db, before, page.limit, account=account, subject=subject, since=since, until=until
            )
        return connect(rows, page, node=AccessRecord.of, key=lambda row: (row.read,))

    @strawberry.field(description="What was done to credentials, cabinets and keys, newest first.")
    async def identity_acts(
        self, info: Info, first: First = None, after: After = None, account: OfAccount = None, subject: OfSubject = None
    ) -> Connection[IdentityAct]:
        """List acts."""
        page = read_page(first=first, after=after, kinds=(int,))
        before = int(str(page.after[0])) if page.after is not None else None
        async with info.context.app.pool.acquire() as db:
            rows = await acts.page(db, before, page.limit, account=account, subject=subject)
        return connect(rows, page, node=IdentityAct.of, key=lambda row: (row.act,))
