"""What a request's resolvers have at hand: the supplier, who asks, and what of it was looked at."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, Self

import asyncpg
import strawberry
from graphql import GraphQLError
from starlette.requests import HTTPConnection
from strawberry.types.graphql import OperationType

from bels.access.access_log import record_read
from bels.access.callers import LOCAL_CALLERS, STAFF, Caller, Kind, Right, Sight
from bels.access.door import Door
from bels.access.doorkeeper import Unauthenticated
from bels.access.oidc import ProviderFailed
from bels.access.rights import Rights, shipped_rights
from bels.access.throttle import place_of
from bels.api.aside import Aside
from bels.api.changes import Changes
from bels.api.engine.budget import Bucket, Budgets, ExhaustedError, Limit, actual_cost, cost_told, headers
from bels.api.engine.context import RefusedError, RequestContext
from bels.api.engine.operations import Operation
from bels.domain.terms import Role
from bels.intake import Intake
from bels.messages import TryLater
from bels.observing.request import noted
from bels.payments.looking import may_look
from bels.payments.partners import Partners
from bels.payments.till import Till
from bels.reception.counter import Counter
from bels.reception.office import Office, shipped_office

LIMITS = {
    Kind.ANONYMOUS: Limit(600, 10.0, "anonymous"),
    Kind.LINK: Limit(600, 10.0, "link"),
    Kind.CONSUMER: Limit(2_000, 50.0, "consumer"),
    Kind.OPERATOR: Limit(20_000, 500.0, "staff"),
    Kind.INSPECTOR: Limit(20_000, 500.0, "staff"),
    Kind.AUDITOR: Limit(20_000, 500.0, "staff"),
    Kind.ADMINISTRATOR: Limit(20_000, 500.0, "staff"),
    Kind.PARTNER: Limit(100_000, 10_000.0, "partner"),
    Kind.GATEWAY: Limit(400_000, 200_000.0, "gateway"),
}
"""Points of each client in one process; the developer at this machine has no limit. A gateway brings everybody's messages."""

SEARCHES_AT_ONCE = 2
"""Searches over all accounts that one process does at once: each has a connection of the pool for seconds; the others wait."""

STRANGE_DOCUMENT = 10
STRANGE_CHARACTERS = 100
"""A document that was not seen before costs so many points, and one more for so many characters: reading it is the work."""

SMALL_BODY = 8_000
BODY_BYTES = 400
"""A body of more bytes costs a point for so many of them: reading it is work, whatever it turns out to be."""

LOOKS = frozenset({"Query.account", "Query.payableAccount", "Query.previewReading"})
"""By these a partner looks at whatever account it names; all else that it sees it has brought itself."""

INTROSPECTORS = frozenset({Kind.LOCAL, Kind.PARTNER, *STAFF})
OWN_FRONT_ENDS = frozenset({Kind.ANONYMOUS, Kind.CONSUMER, Kind.LINK})
"""Who comes through our own front ends: where trusted documents are configured, nothing else is taken from them."""

RIGHTS = shipped_rights()

NAMED_WITH_ROOTS = frozenset({"Account.personalData", "PersonalDataSet.personalData"})
"""Fields below the root that stand in the record of reading by their own name: an auditor looks for them."""


@dataclass(frozen=True, slots=True)
class Supplier:
    """The supplier behind a request: its views, the one way in, the feed of changes, the door, the table of rights, budgets."""

    pool: asyncpg.Pool
    intake: Intake
    changes: Changes
    door: Door
    documents_only: bool = False
    rights: Rights = RIGHTS
    budgets: Budgets = field(default_factory=Budgets)
    aside: Aside = field(default_factory=Aside)
    searches: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(SEARCHES_AT_ONCE))
    office: Office = field(default_factory=shipped_office)
    partners: Partners = field(default_factory=Partners)
    hooks_on_loopback: bool = False

    @property
    def till(self) -> Till:
        """Where payments come in."""
        return Till(Counter(self.pool, self.intake, self.door), self.partners)


@dataclass(slots=True)
class Asking:
    """Who asks on one connection: a socket and all its copies share it, so that a right that is lost is lost for all at once."""

    caller: Caller


@dataclass(slots=True)
class Context(RequestContext[Supplier]):
    """One request: who asks, from where, and which accounts it looked at."""

    asking: Asking = field(kw_only=True)
    address: str = ""
    seen: set[str] = field(default_factory=set)
    cost: int = 0
    paid: int = 0
    bucket: Bucket | None = None
    loaders: dict[str, Any] = field(default_factory=dict)
    """What reads rows for a whole list at once, by name; it remembers nothing."""

    @property
    def caller(self) -> Caller:
        """Say who asks."""
        return self.asking.caller

    @property
    def client_key(self) -> str:
        """Name the client whose budget and open streams are counted together."""
        return self.caller.subject or f"from {place_of(self.address)}"

    def caller_for(self, role: Role) -> Caller:
        """Say who speaks in the role that an operation belongs to: the developer at this machine has them all."""
        return LOCAL_CALLERS[role] if self.caller.kind is Kind.LOCAL else self.caller

    def see(self, account: str) -> Sight | None:
        """Say from where on the caller sees an account, and note that it looked; None is told as if there were none."""
        sight = self.caller.sight(account)
        if sight is not None:
            self.seen.add(account)
        return sight

    def saw(self, accounts: Iterable[str]) -> None:
        """Note the accounts of a list."""
        self.seen.update(accounts)

    def owns(self, actor: str) -> bool:
        """Say whether what an actor brought is the caller's to follow: a bank and a gateway follow their own messages only."""
        return self.caller.kind not in (Kind.PARTNER, Kind.GATEWAY) or self.caller.actor == actor

    def fresh(self) -> Self:
        """Give a copy for one operation or event of a socket, which notes for itself what it looked at."""
        return replace(self, response_headers=[], seen=set(), paid=0)

    def for_event(self) -> Self:
        """Give a copy for one event of a subscription; what it looks at is noted where its operation notes it."""
        return replace(self, response_headers=[])

    def pay(self, points: int) -> None:
        """Take the price of work whose size is known only now; what the operation itself costs was taken before.

        :raises GraphQLError: the budget is spent; nothing is taken, and nothing should be done.
        """
        try:
            self._take(points)
        except RefusedError as refusal:
            raise refusal.error() from None
        self.paid += points

    # What the engine asks of it.

    def weigh(self, size: int) -> None:
        """Take the price of reading a large body; a small one is free.

        :raises RefusedError: the budget is spent.
        """
        if size > SMALL_BODY:
            self._take(size // BODY_BYTES)

    def meet(self, text: str) -> None:
        """Take the price of reading a document that was never seen before.

        :raises RefusedError: the budget is spent.
        """
        self._take(STRANGE_DOCUMENT + len(text) // STRANGE_CHARACTERS)

    def takes_turns(self) -> bool:
        """Say whether its new documents wait for their turn: only those of the developer at this machine do not."""
        return self.caller.kind is not Kind.LOCAL

    def admit(self, operation: Operation, cost: int) -> None:
        """Let an operation in when the budget has its cost, and the caller may see every field it names.

        :raises RefusedError: 429 where the budget is spent, 401 where nobody signed in, 403 where somebody did.
        """
        note = noted(self.connection.scope)
        if note is not None:
            note.asked(operation.kind.value, operation.name, operation.roots)
        self.cost = max(cost, 1)
        self._take(self.cost)
        refused = self.app.rights.first_refused(operation.coordinates, self.caller.rights)
        if refused is None and operation.introspects and self.caller.kind not in INTROSPECTORS:
            refused = "the schema (it is published at /schema.graphql)"
        if refused is None:
            return
        if self.caller.kind is Kind.ANONYMOUS:
            raise RefusedError(
                401, "UNAUTHENTICATED", f"Sign in to ask for {refused}.", [("www-authenticate", "Bearer")]
            )
        if self.caller.rights == Right.ANONYMOUS | Right.PASSWORD:
            raise RefusedError(
                403, "FORBIDDEN", "Change the password first, by changePassword: until then nothing else is open."
            )
        kind = self.caller.kind.value.lower()
        raise RefusedError(403, "FORBIDDEN", f"This {kind} may not ask for {refused}.")

    async def answered(
        self, operation: Operation, data: dict[str, Any] | None, errors: Sequence[GraphQLError] | None
    ) -> Mapping[str, object] | None:
        """Record what staff looked at before it is shown, and tell the cost.

        :raises RefusedError: a right was lost since the subscription began.
        """
        note = noted(self.connection.scope)
        for error in errors or ():
            if note is not None:
                note.failed(str((error.extensions or {}).get("code", "UNKNOWN")))
        caller = self.caller
        if (
            operation.kind is OperationType.SUBSCRIPTION
            and self.app.rights.first_refused(operation.coordinates, caller.rights) is not None
        ):
            raise RefusedError(403, "FORBIDDEN", "The right to this subscription was taken back.")
        if caller.kind in STAFF:
            fields = [*operation.roots, *sorted(NAMED_WITH_ROOTS & operation.coordinates)]
            await record_read(self.app.pool, caller, self.request_id, fields, sorted(self.seen))
        if caller.kind is Kind.PARTNER and self.seen and not LOOKS.isdisjoint(operation.coordinates):
            await self._count_looks()
        limit = LIMITS.get(caller.kind)
        if limit is None:
            return None
        bucket, actual = self.bucket, self.cost
        # What a subscription cost was paid once; its events are free. Only what asks for pages may have cost less.
        if bucket is None or (operation.pages and operation.kind is not OperationType.SUBSCRIPTION):
            actual = actual_cost(operation, data, self.cost)
            bucket = self.app.budgets.refund(self.client_key, self.cost - actual, limit)
        return {"cost": cost_told(self.cost + self.paid, actual + self.paid, bucket)}

    async def _count_looks(self) -> None:
        """Count the accounts that a partner looked at, before they are shown.

        :raises RefusedError: they are more than its contract has for a day, or cannot be counted now.
        """
        try:
            partner = self.app.partners.of(self.caller.subject)
            if await may_look(self.app.till, partner, len(self.seen)):
                return
        except TryLater:
            raise RefusedError(503, "TRY_LATER", "Accounts cannot be shown now; try again in a moment.") from None
        message = f"The contract has {partner.looks_a_day} looks at accounts a day; payments are taken all the same."
        raise RefusedError(429, "RATE_LIMITED", message)

    def documents_only(self) -> bool:
        """Say whether only trusted documents are taken from this caller."""
        return self.app.documents_only and self.caller.kind in OWN_FRONT_ENDS

    async def connected(self) -> None:
        """Ask a socket who it is, by ``authorization`` of its first message or by its headers.

        :raises RefusedError: nobody signed in, or the credential cannot be taken.
        """
        given = self.connection_params or {}
        bearer = given.get("authorization") or given.get("Authorization")
        if isinstance(bearer, str):
            self.asking.caller = await caller_of(self.app.door, self.connection, bearer)
        if self.caller.kind is Kind.ANONYMOUS:
            raise RefusedError(
                401, "UNAUTHENTICATED", 'Sign in: connection_init takes {"authorization": "Bearer ..."}.'
            )

    @property
    def expires_at(self) -> float | None:
        """Say when the credential ends."""
        return self.caller.expires_at

    async def ended(self) -> None:
        """Return when the credential was taken back; until then, keep what it may up to date."""
        given = self.connection_params or {}
        bearer = given.get("authorization") or given.get("Authorization")
        if not self.caller.subject or self.caller.kind is Kind.LOCAL:
            await asyncio.Event().wait()
        bearer = bearer if isinstance(bearer, str) else None
        async with aclosing(self.app.door.doorkeeper.changes(self.caller.subject)) as changes:
            async for _ in changes:
                try:
                    self.asking.caller = await caller_of(self.app.door, self.connection, bearer)
                except RefusedError as refusal:
                    if refusal.status != 503:
                        return

    def _take(self, points: int) -> None:
        limit = LIMITS.get(self.caller.kind)
        if limit is None:
            return
        try:
            self.bucket = self.app.budgets.take(self.client_key, points, limit)
        except ExhaustedError as spent:
            raise spent.refusal() from None
        self.response_headers[:] = headers(limit, self.bucket)


async def caller_of(door: Door, connection: HTTPConnection, bearer: str | None = None) -> Caller:
    """Say who asks by a connection's headers, or by a credential given in another way.

    :raises RefusedError: the credential cannot be taken.
    """
    client = connection.scope.get("client")
    given = connection.scope["headers"]
    if bearer is not None:
        given = [pair for pair in given if pair[0] != b"authorization"]
        given.append((b"authorization", bearer.encode("latin-1", "replace")))
    try:
        caller = await door.doorkeeper.admit(given, client)
    except Unauthenticated as refusal:
        raise RefusedError(401, "UNAUTHENTICATED", refusal.reason, [("www-authenticate", refusal.challenge)]) from None
    except ProviderFailed:
        message = "The identity provider does not answer; try again in a moment."
        raise RefusedError(503, "TRY_LATER", message, [("retry-after", "5")]) from None
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        message = "Who asks cannot be looked up just now; try again in a moment."
        raise RefusedError(503, "TRY_LATER", message, [("retry-after", "2")]) from None
    note = noted(connection.scope)
    if note is not None:
        note.by(caller.kind.value, caller.subject)
    return caller


Info = strawberry.Info[Context, None]
