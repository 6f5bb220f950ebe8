"""Who one is, and who belongs to an account: people as ids, never their names."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, cast

import strawberry

import bels.api.records  # noqa: F401  # CallerKind is described there
from bels.access import cabinets, logins, sessions
from bels.access.callers import EVERYTHING, PEOPLE, Caller, Kind
from bels.access.desk import Desk
from bels.access.people import find_person, login_text, login_texts
from bels.access.rights import WORDS
from bels.access.tenures import find_tenure
from bels.access.words import AccessReason, Refused
from bels.api.accounts import Account, find_account
from bels.api.context import Info
from bels.api.inputs import ACCOUNT
from bels.api.outcomes import Refusal
from bels.domain import terms
from bels.domain.terms import Period, Reason
from bels.projections import overview

Paths = Mapping[AccessReason | Reason, list[str]]

PATHS: Paths = {
    AccessReason.NOT_PROVEN: ["input", "proof"],
    AccessReason.LOGIN_TAKEN: ["input", "login"],
    AccessReason.BAD_LOGIN: ["input", "login"],
    AccessReason.BAD_PASSWORD: ["input", "password"],
    AccessReason.SESSION_ENDED: ["input", "refreshToken"],
    AccessReason.UNKNOWN_SESSION: ["input", "session"],
    AccessReason.UNKNOWN_PERSON: ["input", "person"],
    AccessReason.NO_PASSWORD: ["input", "person"],
    AccessReason.ALREADY_MEMBER: ["input", "account"],
    AccessReason.NOT_A_MEMBER: ["input", "account"],
    AccessReason.LIMIT_REACHED: ["input", "account"],
    AccessReason.NOT_LINKED_HERE: ["input", "address"],
    AccessReason.BAD_DOCUMENT: ["input", "document"],
    AccessReason.BAD_NOTE: ["input", "reason"],
    Reason.UNKNOWN_ACCOUNT: ["input", "account"],
    Reason.ACCOUNT_CLOSED: ["input", "account"],
}
"""Where in the input each refusal points; the ones not named are about the whole."""


def desk_of(info: Info) -> Desk:
    """Give the desk at which the rules of identity are carried out."""
    app = info.context.app
    door = app.door
    own_people = door.oidc is None
    return Desk(app.pool, door.vault, door.passwords, door.throttle, door.tokens, app.intake, own_people)


@strawberry.type(description="What the door does not let through, with the reason and how to do it right.")
class IdentityRefused(Refusal):
    """What the door does not let through."""

    retry_after_s: int | None = strawberry.field(description="After how many seconds it may be tried again.")

    @classmethod
    def of(cls, refused: Refused, paths: Paths = PATHS) -> IdentityRefused:
        """Show why."""
        words = refused.words
        return cls(
            # The schema's RefusalCode has the codes of the domain and of the door.
            code=cast("terms.Reason", refused.reason),
            text=words.text,
            hint=words.hint,
            path=paths.get(refused.reason, PATHS.get(refused.reason)),
            retry_after_s=round(refused.wait_s) if refused.wait_s is not None else None,
        )


@strawberry.type(description="A person that has a session. The tokens are told this once: send the first as `Bearer`.")
class SignedIn:
    """A person that has a session."""

    person: strawberry.ID = strawberry.field(description="The person, without a name.")
    session: strawberry.ID = strawberry.field(description="The session; it can be ended by `logOut`.")
    access_token: str = strawberry.field(description="The access token, for `Authorization: Bearer`.")
    expires_in_s: int = strawberry.field(description="How many seconds it lives.")
    refresh_token: str = strawberry.field(description="Continues the session by `renewSession`, once.")
    must_change_password: bool = strawberry.field(description="Nothing but `changePassword` is open until then.")

    @classmethod
    def of(cls, signed: logins.SignedIn) -> SignedIn:
        """Show a session."""
        return cls(
            person=strawberry.ID(signed.person),
            session=strawberry.ID(signed.session),
            access_token=signed.access_token,
            expires_in_s=signed.expires_in_s,
            refresh_token=signed.refresh_token,
            must_change_password=signed.must_change,
        )


@strawberry.type(description="A session that has ended: its tokens are worth nothing.")
class SessionEnded:
    """A session that has ended."""

    session: strawberry.ID = strawberry.field(description="The session.")


@strawberry.type(description="An account that a person sees from now on.")
class AccountLinked:
    """An account that a person sees from now on."""

    account_number: str = strawberry.field(description="The account.")
    person: strawberry.ID = strawberry.field(description="The person.")
    since: datetime = strawberry.field(description="Since when.")
    from_period: Period | None = strawberry.field(
        description="The first period it sees, where a household lived there before."
    )

    @classmethod
    def of(cls, member: cabinets.Member) -> AccountLinked:
        """Show a membership."""
        return cls(
            account_number=member.account,
            person=strawberry.ID(member.person),
            since=member.since,
            from_period=member.period or None,
        )


@strawberry.type(description="An account that a person sees no more.")
class AccountUnlinked:
    """An account that a person sees no more."""

    account_number: str = strawberry.field(description="The account.")
    person: strawberry.ID = strawberry.field(description="The person.")


@strawberry.type(description="A consumer that the office made, with an account to see.")
class ConsumerAdded:
    """A consumer that the office made."""

    account_number: str = strawberry.field(description="The account.")
    person: strawberry.ID = strawberry.field(description="The person.")
    password: str = strawberry.field(
        description="Its password, told this once; it must be changed at the first log-in."
    )
    since: datetime = strawberry.field(description="Since when.")
    from_period: Period | None = strawberry.field(description="The first period it sees; null: all.")


@strawberry.type(description="A password that was reset, with all sessions and card bindings of the person.")
class PasswordReset:
    """A password that was reset."""

    person: strawberry.ID = strawberry.field(description="The person.")
    password: str = strawberry.field(
        description="The new password, told this once; it must be changed at the first log-in."
    )
    sessions_ended: int = strawberry.field(description="How many sessions ended.")
    cards_removed: int = strawberry.field(description="How many card bindings were removed.")


@strawberry.type(
    description="A cabinet that was closed: the old household is cut off, the tenure of the next one begins."
)
class CabinetClosed:
    """A cabinet that was closed."""

    account_number: str = strawberry.field(description="The account.")
    tenure: int = strawberry.field(description="The number of the tenure that begins.")
    from_period: Period = strawberry.field(description="The first period that the next household sees.")
    replayed: bool = strawberry.field(description="This document had closed it before; what was left is finished now.")
    people_cut_off: int = strawberry.field(description="How many people saw the account until now.")
    links_revoked: int = strawberry.field(description="How many one-task links were revoked.")
    cards_removed: int = strawberry.field(description="How many card bindings were removed.")
    senders_unlinked: int = strawberry.field(
        description="How many phones, chats and e-mails spoke for the account until now."
    )

    @classmethod
    def of(cls, closed: cabinets.Closed) -> CabinetClosed:
        """Show a closing."""
        return cls(
            account_number=closed.account,
            tenure=closed.tenure.number,
            from_period=closed.tenure.period,
            replayed=closed.repeated,
            people_cut_off=closed.people,
            links_revoked=closed.links,
            cards_removed=closed.cards,
            senders_unlinked=closed.senders,
        )


@strawberry.type(
    description="A one-task link. Its token is told this once: the token endpoint changes it for an access token."
)
class LinkMade:
    """A one-task link."""

    link: strawberry.ID = strawberry.field(description="The link, without its secret.")
    account_number: str = strawberry.field(description="The account.")
    token: str = strawberry.field(description="The secret; whoever has it may do the task once.")
    expires_at: datetime = strawberry.field(description="When its time is over.")


@strawberry.type(description="A session that goes on.")
class Session:
    """A session that goes on."""

    id: strawberry.ID = strawberry.field(description="Its name, for `logOut`.")
    created_at: datetime = strawberry.field(description="When it began.")
    used_at: datetime = strawberry.field(description="When it was renewed last.")
    expires_at: datetime = strawberry.field(description="When it ends without use.")
    current: bool = strawberry.field(description="It is the one that asks.")


@strawberry.type(description="An account of one's cabinet.")
class MyAccount:
    """An account of one's cabinet."""

    account_number: str = strawberry.field(description="The account.")
    since: datetime | None = strawberry.field(description="Since when it is in the cabinet; null for a link.")

    @strawberry.field(description="The account.")
    async def account(self, info: Info) -> Account | None:
        """Find the account."""
        return await find_account(info, self.account_number)


@strawberry.type(description="Who asks, as the supplier sees it.")
class Me:
    """Who asks."""

    kind: Kind = strawberry.field(description="What one is to the supplier.")
    subject: strawberry.ID | None = strawberry.field(description="One's name in acts and logs; null for nobody.")
    rights: list[str] = strawberry.field(
        description='What the credential brings, in the words of the published table, for example "consumer".'
    )
    expires_at: datetime | None = strawberry.field(description="When the access token ends.")

    @strawberry.field(description="One's own login; null where there is none.")
    async def login(self, info: Info) -> str | None:
        """Unseal the login."""
        caller, desk = info.context.caller, desk_of(info)
        if caller.kind not in PEOPLE:
            return None
        async with desk.pool.acquire() as db:
            return await login_text(db, desk.vault, caller.subject)

    @strawberry.field(description="The password came from the office: nothing but `changePassword` is open until then.")
    async def must_change_password(self, info: Info) -> bool:
        """Look whether it must be changed."""
        caller, desk = info.context.caller, desk_of(info)
        if caller.kind not in PEOPLE:
            return False
        async with desk.pool.acquire() as db:
            found = await find_person(db, caller.subject)
        return found is not None and found.must_change

    @strawberry.field(description="The accounts of one's cabinet, the first one first; of a link its own.")
    async def accounts(self, info: Info) -> list[MyAccount]:
        """List the accounts."""
        caller, desk = info.context.caller, desk_of(info)
        if caller.kind is not Kind.CONSUMER:
            return [MyAccount(account_number=number, since=None) for number in caller.sights or ()]
        async with desk.pool.acquire() as db:
            members = await cabinets.accounts_of(db, caller.subject)
        return [MyAccount(account_number=each.account, since=each.since) for each in members]

    @strawberry.field(description="One's living sessions, the one used last first.")
    async def sessions(self, info: Info) -> list[Session]:
        """List the sessions."""
        return await my_sessions(info)


@strawberry.type(description="A person that sees an account.")
class CabinetMember:
    """A person that sees an account."""

    person: strawberry.ID = strawberry.field(description="The person, without a name.")
    login: str | None = strawberry.field(description="What the person logs in by, to tell it from the others.")
    since: datetime = strawberry.field(description="Since when.")
    from_period: Period | None = strawberry.field(description="The first period it sees; null: all.")


@strawberry.type(description="Who sees an account, for the office.")
class Cabinet:
    """Who sees an account."""

    account_number: str = strawberry.field(description="The account.")
    tenure: int = strawberry.field(description="Which household it is, from 1 on.")
    since: datetime | None = strawberry.field(description="When its cabinet began; null for the first household.")
    members: list[CabinetMember] = strawberry.field(description="The people, the first one first.")


@strawberry.type
class CabinetQuery:
    """What may be asked about identity; no type of the schema."""

    @strawberry.field(description="Who asks, and what the credential lets one do; also for nobody.")
    async def me(self, info: Info) -> Me:
        """Show the caller."""
        caller = info.context.caller
        expires_at = datetime.fromtimestamp(caller.expires_at, UTC) if caller.expires_at is not None else None
        subject = strawberry.ID(caller.subject) if caller.subject else None
        return Me(kind=caller.kind, subject=subject, rights=_words_of(caller), expires_at=expires_at)

    @strawberry.field(description="One's living sessions, the one used last first.")
    async def sessions(self, info: Info) -> list[Session]:
        """List the sessions."""
        return await my_sessions(info)

    @strawberry.field(description="Who sees an account (operator); null when there is no such account.")
    async def cabinet(
        self, info: Info, account: Annotated[str, strawberry.argument(description=ACCOUNT)]
    ) -> Cabinet | None:
        """Find the people of an account."""
        if info.context.see(account) is None:
            return None
        async with info.context.app.pool.acquire() as db:
            if not await overview.find(db, [account]):
                return None
            tenure = await find_tenure(db, account)
            members = await cabinets.members_of(db, account)
            vault = info.context.app.door.vault
            logins_of = await login_texts(db, vault, [each.person for each in members])
        return Cabinet(
            account_number=account,
            tenure=tenure.number,
            since=tenure.since,
            members=[
                CabinetMember(
                    person=strawberry.ID(each.person),
                    login=logins_of.get(each.person),
                    since=each.since,
                    from_period=each.period or None,
                )
                for each in members
            ],
        )


async def my_sessions(info: Info) -> list[Session]:
    """List the caller's sessions; whoever is no person has none."""
    caller, desk = info.context.caller, desk_of(info)
    if caller.kind not in PEOPLE:
        return []
    async with desk.pool.acquire() as db:
        rows = await sessions.list_of(db, caller.subject, desk.intake.clock())
    return [
        Session(
            id=strawberry.ID(row.session),
            created_at=row.created_at,
            used_at=row.used_at,
            expires_at=row.expires_at,
            current=row.session == caller.session,
        )
        for row in rows
    ]


def _words_of(caller: Caller) -> list[str]:
    if caller.rights == EVERYTHING:
        return ["everything"]
    return [word for word, right in WORDS.items() if right in caller.rights]
