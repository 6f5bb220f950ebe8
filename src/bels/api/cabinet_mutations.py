"""What may be done about identity: come in, go out, let an account into one's cabinet; and what the office does for people."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import strawberry
from graphql import GraphQLError

from bels.access import cabinets, links, logins
from bels.access.callers import PEOPLE, Kind, sender_digest
from bels.access.documents import is_note
from bels.access.passwords import Busy
from bels.access.people import find_person
from bels.access.words import AccessReason, Refused
from bels.api import cabinet_inputs as inputs
from bels.api.cabinet_inputs import document_of, proof_of
from bels.api.cabinets import (
    AccountLinked,
    AccountUnlinked,
    CabinetClosed,
    ConsumerAdded,
    IdentityRefused,
    LinkMade,
    PasswordReset,
    Paths,
    SessionEnded,
    SignedIn,
    desk_of,
)
from bels.api.context import Info
from bels.api.engine.scalars import BadUserInputError
from bels.api.messages import TryLaterError
from bels.domain.terms import Role
from bels.messages import TryLater
from bels.projections import overview

DAY_S = 86_400
DAYS_MAX = links.LIVES_S_MAX // DAY_S

OF_CHANGE: Paths = {
    AccessReason.WRONG_CREDENTIALS: ["input", "oldPassword"],
    AccessReason.BAD_PASSWORD: ["input", "newPassword"],
    AccessReason.NO_PASSWORD: ["input"],
}
OF_LOG_IN: Paths = {AccessReason.NO_PASSWORD: ["input"]}

RegisterConsumerResult = Annotated[
    SignedIn | IdentityRefused,
    strawberry.union("RegisterConsumerResult", description="What became of a registration."),
]
LogInResult = Annotated[
    SignedIn | IdentityRefused, strawberry.union("LogInResult", description="What became of a log-in.")
]
RenewSessionResult = Annotated[
    SignedIn | IdentityRefused, strawberry.union("RenewSessionResult", description="How a session goes on.")
]
LogOutResult = Annotated[
    SessionEnded | IdentityRefused, strawberry.union("LogOutResult", description="What became of a session.")
]
ChangePasswordResult = Annotated[
    SignedIn | IdentityRefused,
    strawberry.union("ChangePasswordResult", description="What became of a change of the password."),
]
LinkAccountResult = Annotated[
    AccountLinked | IdentityRefused,
    strawberry.union("LinkAccountResult", description="Whether the account is in the cabinet."),
]
UnlinkAccountResult = Annotated[
    AccountUnlinked | IdentityRefused,
    strawberry.union("UnlinkAccountResult", description="Whether the account has left the cabinet."),
]
ResetPasswordResult = Annotated[
    PasswordReset | IdentityRefused,
    strawberry.union("ResetPasswordResult", description="What became of a forgotten password."),
]
AddConsumerResult = Annotated[
    ConsumerAdded | IdentityRefused,
    strawberry.union("AddConsumerResult", description="What became of a consumer that the office makes."),
]
CloseCabinetResult = Annotated[
    CabinetClosed | IdentityRefused,
    strawberry.union("CloseCabinetResult", description="What became of a cabinet's closing."),
]
MakeLinkResult = Annotated[
    LinkMade | IdentityRefused, strawberry.union("MakeLinkResult", description="What became of a link.")
]


class SignInError(GraphQLError):
    """It is for a person who signed in, and the caller is none."""

    def __init__(self) -> None:
        super().__init__("Sign in as a person for this.", extensions={"code": "UNAUTHENTICATED"})


@strawberry.type
class CabinetMutation:
    """What may be done about identity; no type of the schema."""

    @strawberry.mutation(description="Register with an account's number and what stands on a bill of it.")
    async def register_consumer(self, info: Info, input: inputs.RegisterConsumerInput) -> RegisterConsumerResult:
        """Register a consumer."""
        desk, context = desk_of(info), info.context
        with _later():
            person = await cabinets.register(
                desk,
                input.account,
                proof_of(input.proof),
                input.login,
                input.password,
                address=context.address,
                request_id=context.request_id,
            )
        if isinstance(person, Refused):
            return IdentityRefused.of(person, OF_LOG_IN)
        return await _signed_in(info, person)

    @strawberry.mutation(description="Log in; an unknown login and a wrong password are answered alike.")
    async def log_in(self, info: Info, input: inputs.LogInInput) -> LogInResult:
        """Log in."""
        desk = desk_of(info)
        with _later():
            found = await logins.log_in(desk, input.login, input.password, address=info.context.address)
        if isinstance(found, Refused):
            return IdentityRefused.of(found, OF_LOG_IN)
        return SignedIn.of(await logins.sign_in(desk, found))

    @strawberry.mutation(description="Continue a session: an access token and the next refresh token.")
    async def renew_session(self, info: Info, input: inputs.RenewSessionInput) -> RenewSessionResult:
        """Continue a session."""
        renewed = await logins.renew(desk_of(info), input.refresh_token)
        return IdentityRefused.of(renewed, OF_LOG_IN) if isinstance(renewed, Refused) else SignedIn.of(renewed)

    @strawberry.mutation(description="End this session, or another one of one's own.")
    async def log_out(self, info: Info, input: inputs.LogOutInput) -> LogOutResult:
        """End a session."""
        context = info.context
        session = input.session if input.session is not None else context.caller.session
        refused = await logins.log_out(desk_of(info), _person(info), session, request_id=context.request_id)
        return IdentityRefused.of(refused) if refused is not None else SessionEnded(session=strawberry.ID(session))

    @strawberry.mutation(
        description="Change one's password: every session ends, and this is the first of the next ones."
    )
    async def change_password(self, info: Info, input: inputs.ChangePasswordInput) -> ChangePasswordResult:
        """Change a password."""
        context, person = info.context, _person(info)
        with _later():
            refused = await logins.change_password(
                desk_of(info),
                person,
                input.old_password,
                input.new_password,
                address=context.address,
                request_id=context.request_id,
            )
        return IdentityRefused.of(refused, OF_CHANGE) if refused is not None else await _signed_in(info, person)

    @strawberry.mutation(
        description="Let another account into one's cabinet, by what stands on a bill of it (consumer)."
    )
    async def link_account(self, info: Info, input: inputs.LinkAccountInput) -> LinkAccountResult:
        """Link an account."""
        context = info.context
        with _later():
            member = await cabinets.link_account(
                desk_of(info),
                _person(info),
                input.account,
                proof_of(input.proof),
                address=context.address,
                request_id=context.request_id,
            )
        return IdentityRefused.of(member) if isinstance(member, Refused) else AccountLinked.of(member)

    @strawberry.mutation(description="Let an account leave one's cabinet, with the cards and links for it (consumer).")
    async def unlink_account(self, info: Info, input: inputs.UnlinkAccountInput) -> UnlinkAccountResult:
        """Unlink an account."""
        return await _unlinked(info, input.account, _person(info), None)

    @strawberry.mutation(
        description="Reset a forgotten password at the office: sessions and card bindings go with it (operator)."
    )
    async def reset_password(self, info: Info, input: inputs.ResetPasswordInput) -> ResetPasswordResult:
        """Reset a password."""
        context = info.context
        with _later():
            reset = await logins.reset_password(
                desk_of(info),
                input.person,
                document_of(input.document),
                input.reason.strip(),
                by=context.caller.subject,
                request_id=context.request_id,
            )
        if isinstance(reset, Refused):
            return IdentityRefused.of(reset)
        return PasswordReset(
            person=strawberry.ID(reset.person),
            password=reset.password,
            sessions_ended=reset.sessions,
            cards_removed=reset.cards,
        )

    @strawberry.mutation(
        description="Close the cabinet of a flat that has changed hands: the old household is cut off at once (operator)."
    )
    async def close_cabinet(self, info: Info, input: inputs.CloseCabinetInput) -> CloseCabinetResult:
        """Close a cabinet."""
        context = info.context
        context.see(input.account)
        with _later():
            closed = await cabinets.close_cabinet(
                desk_of(info),
                input.account,
                document_of(input.document),
                input.reason.strip(),
                by=context.caller.subject,
                actor=context.caller_for(Role.OPERATOR).actor,
                request_id=context.request_id,
            )
        return IdentityRefused.of(closed) if isinstance(closed, Refused) else CabinetClosed.of(closed)

    @strawberry.mutation(description="Let a person see an account, by a document shown at the office (operator).")
    async def admit_member(self, info: Info, input: inputs.AdmitMemberInput) -> LinkAccountResult:
        """Admit a person."""
        context = info.context
        context.see(input.account)
        member = await cabinets.admit_member(
            desk_of(info),
            input.person,
            input.account,
            document_of(input.document),
            input.reason.strip(),
            by=context.caller.subject,
            request_id=context.request_id,
        )
        return IdentityRefused.of(member) if isinstance(member, Refused) else AccountLinked.of(member)

    @strawberry.mutation(
        description="Make a consumer of whoever has no bill yet, by a document shown at the office (operator)."
    )
    async def add_consumer(self, info: Info, input: inputs.AddConsumerInput) -> AddConsumerResult:
        """Add a consumer."""
        context = info.context
        context.see(input.account)
        with _later():
            added = await cabinets.add_consumer(
                desk_of(info),
                input.account,
                input.login,
                document_of(input.document),
                input.reason.strip(),
                by=context.caller.subject,
                request_id=context.request_id,
            )
        if isinstance(added, Refused):
            return IdentityRefused.of(added)
        member = added.member
        return ConsumerAdded(
            account_number=member.account,
            person=strawberry.ID(member.person),
            password=added.password,
            since=member.since,
            from_period=member.period or None,
        )

    @strawberry.mutation(description="Cut a person off from an account, with the cards and links for it (operator).")
    async def remove_member(self, info: Info, input: inputs.RemoveMemberInput) -> UnlinkAccountResult:
        """Remove a person."""
        info.context.see(input.account)
        if not is_note(input.reason):
            return IdentityRefused.of(Refused(AccessReason.BAD_NOTE))
        return await _unlinked(info, input.account, input.person, input.reason.strip())

    @strawberry.mutation(
        description="Make a link for one task; a gateway makes them for senders that are linked to the account (operator, gateway)."
    )
    async def make_link(self, info: Info, input: inputs.MakeLinkInput) -> MakeLinkResult:
        """Make a link."""
        context = info.context
        if not 1 <= input.days <= DAYS_MAX:
            raise BadUserInputError(f"`days` must be 1 to {DAYS_MAX}.")
        context.see(input.account)
        if context.caller.kind is Kind.GATEWAY and not await _is_linked(info, input.account, input.address):
            return IdentityRefused.of(Refused(AccessReason.NOT_LINKED_HERE))
        desk = desk_of(info)
        async with desk.pool.acquire() as db:
            made = await links.make_link(
                db,
                desk.vault,
                input.account,
                input.task.value,
                made_by=context.caller.subject,
                now=desk.intake.clock(),
                lives_s=input.days * DAY_S,
                request_id=context.request_id,
            )
        if isinstance(made, Refused):
            return IdentityRefused.of(made)
        return LinkMade(
            link=strawberry.ID(made.link), account_number=input.account, token=made.token, expires_at=made.expires_at
        )


def _person(info: Info) -> str:
    caller = info.context.caller
    if caller.kind not in PEOPLE:
        raise SignInError
    return caller.subject


@contextmanager
def _later() -> Iterator[None]:
    try:
        yield
    except (Busy, TryLater):
        raise TryLaterError from None


async def _signed_in(info: Info, person: str) -> SignedIn | IdentityRefused:
    desk = desk_of(info)
    async with desk.pool.acquire() as db:
        found = await find_person(db, person)
    if found is None or found.revoked_at is not None:
        return IdentityRefused.of(Refused(AccessReason.SESSION_ENDED), {})
    return SignedIn.of(await logins.sign_in(desk, found))


async def _unlinked(info: Info, account: str, person: str, reason: str | None) -> AccountUnlinked | IdentityRefused:
    context = info.context
    refused = await cabinets.unlink_account(
        desk_of(info), account, person, by=context.caller.subject, reason=reason, request_id=context.request_id
    )
    if refused is not None:
        return IdentityRefused.of(refused)
    return AccountUnlinked(account_number=account, person=strawberry.ID(person))


async def _is_linked(info: Info, account: str, address: str | None) -> bool:
    """Say whether a gateway's sender speaks for the account, on the channel that the gateway is."""
    app, channel = info.context.app, info.context.caller.channel
    if address is None:
        return False
    sender = sender_digest(address, app.door.sender_key)
    async with app.pool.acquire() as db:
        row = (await overview.find(db, [account])).get(account)
    links_of = row.links if row is not None else ()
    return any(link["channel"] == channel.value and link["sender"] == sender for link in links_of)
