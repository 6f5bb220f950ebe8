"""What partners are told: webhooks, what became of every delivery, the catalogue of types and their schemas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Annotated, cast
from urllib.parse import urlsplit

import strawberry
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from bels.access.callers import Kind
from bels.access.words import AccessReason, Refused
from bels.api.context import Info
from bels.api.engine.paging import Connection, connect, read_page
from bels.api.engine.scalars import BadUserInputError
from bels.api.enums import describe
from bels.api.inputs import KEY
from bels.api.messages import key_of, note_of, or_later
from bels.api.objects import After, First
from bels.api.outcomes import Refusal
from bels.domain import terms
from bels.domain.periods import moscow_date
from bels.domain.terms import Reason, Role
from bels.payments.webhooks import subscriptions
from bels.payments.webhooks.catalogue import TYPES, EventType, published, subscribable
from bels.payments.webhooks.deliver import terms_of
from bels.payments.webhooks.guard import GuardError, Policy, check_endpoint
from bels.payments.webhooks.subscriptions import (
    DESCRIPTION_LENGTH_MAX,
    REPLAY_IDS_MAX,
    WEBHOOKS_MAX,
    Attempt,
    Delivery,
    DeliveryState,
    WebhookError,
    WebhookState,
)

SCHEMAS_PATH = "/webhooks/schemas"
URL = ["input", "url"]

strawberry.enum(WebhookState, description="Where a webhook stands.")
strawberry.enum(DeliveryState, name="WebhookDeliveryState", description="Where a delivery stands.")
describe(
    {
        WebhookState.ACTIVE: "Events are delivered.",
        WebhookState.PAUSED: "You asked for a pause; events wait.",
        WebhookState.GONE: "It answered 410: nothing is sent until you resume it.",
        WebhookState.DELETED: "It is no more.",
    }
)
describe(
    {
        DeliveryState.PENDING: "It waits for its turn, or to be tried again.",
        DeliveryState.DELIVERED: "You answered 2xx.",
        DeliveryState.DEAD: "It was tried for a week; replay it.",
    }
)

TEXTS: Mapping[str, tuple[str, str]] = {
    "BAD_URL": (
        "Адрес уведомлений записан неверно.",
        "Пример: https://hooks.bank.ru/bels — латиницей, без логина и #.",
    ),
    "NOT_HTTPS": ("Уведомления отправляются только по HTTPS.", "Пример: https://hooks.bank.ru/bels."),
    "NOT_A_NAME": ("В адресе уведомлений должно стоять имя сервера.", "Укажите имя, а не IP-адрес."),
    "PORT_NOT_ALLOWED": ("Этот порт не разрешён.", "Разрешены 443, 8443 и порты, названные в договоре."),
    "ADDRESS_NOT_ALLOWED": (
        "Имя сервера указывает на адрес, который не вызывается.",
        "Все адреса имени должны быть адресами открытого интернета.",
    ),
    "NAME_NOT_RESOLVED": ("Имя сервера не найдено.", "Проверьте имя и повторите."),
}
"""What is wrong with a URL and how to do it right, by the guard's code."""


@strawberry.type(description="Where a partner is told of what.")
class Webhook:
    """Where a partner is told of what."""

    id: strawberry.ID = strawberry.field(description="Names it.")
    partner: str = strawberry.field(description="Whose it is.")
    url: str = strawberry.field(description="Where events go.")
    host: str = strawberry.field(description="The host of the URL.")
    types: list[str] = strawberry.field(description="Of what it is told.")
    description: str = strawberry.field(description="In the partner's words.")
    state: WebhookState = strawberry.field(description="Where it stands.")
    created_at: datetime = strawberry.field(description="Since when.")
    old_secret_until: datetime | None = strawberry.field(description="Until when the secret before this one signs too.")
    failures: int = strawberry.field(description="Attempts that failed in a row.")
    failing_since: datetime | None = strawberry.field(description="Since when they do.")
    held_until: datetime | None = strawberry.field(
        description="Nothing is sent before: it asked so, or fails for long."
    )

    @classmethod
    def of(cls, row: subscriptions.Webhook) -> Webhook:
        """Show a webhook."""
        return cls(
            id=strawberry.ID(row.id),
            partner=row.partner,
            url=row.url,
            host=urlsplit(row.url).hostname or "",
            types=list(row.types),
            description=row.description,
            state=row.state,
            created_at=row.created_at,
            old_secret_until=row.previous_until,
            failures=row.failures,
            failing_since=row.failing_since,
            held_until=row.held_until,
        )


@strawberry.type(description="One attempt at a delivery.")
class WebhookAttempt:
    """One attempt."""

    number: int = strawberry.field(description="Which it was, from 1.")
    at: datetime = strawberry.field(description="When.")
    status: int | None = strawberry.field(description="The status of the answer; null where none came.")
    error: str | None = strawberry.field(
        description="Why none came: TIMED_OUT, NOT_CONNECTED, TLS, NAME_NOT_RESOLVED, …"
    )
    duration_ms: int = strawberry.field(description="How long it took.")

    @classmethod
    def of(cls, row: Attempt) -> WebhookAttempt:
        """Show an attempt."""
        return cls(number=row.number, at=row.at, status=row.status, error=row.error, duration_ms=row.duration_ms)


@strawberry.type(description="An event on its way to a webhook.")
class WebhookDelivery:
    """An event on its way."""

    event_id: strawberry.ID = strawberry.field(description="Names the event: `webhook-id`, the same in every repeat.")
    type: str = strawberry.field(description="Its type.")
    recorded_at: datetime = strawberry.field(description="When it was recorded.")
    state: DeliveryState = strawberry.field(description="Where it stands.")
    next_at: datetime | None = strawberry.field(description="When it is tried next; null where it is not.")
    tries: int = strawberry.field(description="Attempts in all.")
    error: str | None = strawberry.field(description="Why the last attempt failed.")
    ended_at: datetime | None = strawberry.field(description="Since when it is delivered or dead.")
    attempts: list[WebhookAttempt] = strawberry.field(description="The last attempts, at most 20, oldest first.")

    @classmethod
    def of(cls, row: Delivery, attempts: Sequence[Attempt]) -> WebhookDelivery:
        """Show a delivery."""
        return cls(
            event_id=strawberry.ID(row.event),
            type=row.type,
            recorded_at=row.recorded_at,
            state=row.state,
            next_at=row.not_before if row.state is DeliveryState.PENDING else None,
            tries=row.tries,
            error=row.last_error,
            ended_at=row.ended_at,
            attempts=[WebhookAttempt.of(each) for each in attempts],
        )


@strawberry.type(description="A type of events, with the version of its shape.")
class WebhookEventKind:
    """A type of events."""

    name: str = strawberry.field(description="Its name, for `types`; the version stands at its end.")
    description: str = strawberry.field(description="When it is told.")
    schema_path: str = strawberry.field(description="Where its JSON Schema is, on this server.")
    ends_on: date | None = strawberry.field(
        description="From when on it is told no more: a newer version stands beside it."
    )

    @classmethod
    def of(cls, kind: EventType) -> WebhookEventKind:
        """Show a type."""
        return cls(
            name=kind.name,
            description=kind.description,
            schema_path=f"{SCHEMAS_PATH}/{kind.name}.json",
            ends_on=kind.ends_on,
        )


@strawberry.input(
    description=(
        'A new webhook. Example: `{idempotencyKey: "hook-1", url: "https://hooks.bank.ru/bels", types: '
        '["payment.received.v1", "reading.held.v1"], description: "production"}`.'
    )
)
class SubscribeWebhookInput:
    """A new webhook."""

    idempotency_key: strawberry.ID = strawberry.field(description=KEY)
    url: str = strawberry.field(description="Where events go: HTTPS, a public name, port 443 or 8443 or one agreed on.")
    types: list[str] = strawberry.field(description="Of what to be told, by names of `webhookEventTypes`.")
    description: str = strawberry.field(default="", description="For yourself, at most 100 characters.")


@strawberry.input(description="A webhook.")
class WebhookInput:
    """A webhook."""

    webhook: strawberry.ID = strawberry.field(description="Its id.")


@strawberry.input(description="A webhook, and a name for what is asked of it: the same name does it once.")
class WebhookKeyInput:
    """A webhook, and a name for what is asked of it."""

    webhook: strawberry.ID = strawberry.field(description="Its id.")
    idempotency_key: strawberry.ID = strawberry.field(description=KEY)


@strawberry.input(
    description=(
        "Events to be told again, of the last 90 days, at most 10,000; at least one of `from`, `to`, `ids` is given. What is on "
        'its way is left alone. Example: `{webhook: "wh_…", from: "2026-11-20T00:00:00+03:00", to: "2026-11-21T00:00:00+03:00"}`.'
    )
)
class ReplayWebhooksInput:
    """Events to be told again."""

    webhook: strawberry.ID = strawberry.field(description="To which webhook.")
    since: datetime | None = strawberry.field(default=None, name="from", description="Recorded from then on.")
    until: datetime | None = strawberry.field(default=None, name="to", description="Recorded before then.")
    ids: list[strawberry.ID] | None = strawberry.field(default=None, description="Only these, at most 100.")
    types: list[str] | None = strawberry.field(default=None, description="Only these; by default those it is told of.")


@strawberry.type(description="A webhook that could not be made, with the reason and how to do it right.")
class WebhookRefused(Refusal):
    """A webhook that could not be made."""

    @classmethod
    def of(cls, reason: Reason | AccessReason, path: list[str]) -> WebhookRefused:
        """Show why, in the usual words."""
        words = Refused(reason).words
        return cls(code=cast("terms.Reason", reason), text=words.text, hint=words.hint, path=path)

    @classmethod
    def of_url(cls, code: str) -> WebhookRefused:
        """Show what is wrong with a URL."""
        text, hint = TEXTS[code]
        return cls(code=Reason.BAD_ADDRESS, text=text, hint=hint, path=URL)


@strawberry.type(description="A webhook, and its secret, which is told this once.")
class WebhookSubscribed:
    """A webhook, and its secret."""

    webhook: Webhook = strawberry.field(description="The webhook.")
    secret: str | None = strawberry.field(description="Signs every event: `whsec_…`; null where this is a repeat.")
    replayed: bool = strawberry.field(description="It had been made under this key before.")


@strawberry.type(description="A webhook with another secret, which is told this once; the old one signs too for a day.")
class WebhookSecretRotated:
    """A webhook with another secret."""

    webhook: Webhook = strawberry.field(description="The webhook.")
    secret: str | None = strawberry.field(description="Signs from now on: `whsec_…`; null where this is a repeat.")
    replayed: bool = strawberry.field(description="It had been changed under this key before.")


@strawberry.type(description="A webhook as it stands now.")
class WebhookChanged:
    """A webhook as it stands now."""

    webhook: Webhook = strawberry.field(description="The webhook.")


@strawberry.type(description="A webhook that is no more.")
class WebhookDeleted:
    """A webhook that is no more."""

    webhook: strawberry.ID = strawberry.field(description="Its id.")


@strawberry.type(description="A test that is on its way.")
class WebhookPinged:
    """A test that is on its way."""

    event_id: strawberry.ID = strawberry.field(description="The event: `webhook-id`.")


@strawberry.type(description="Events that are told again.")
class WebhooksReplayed:
    """Events that are told again."""

    count: int = strawberry.field(description="How many.")


SubscribeWebhookResult = Annotated[
    WebhookSubscribed | WebhookRefused,
    strawberry.union("SubscribeWebhookResult", description="Whether the webhook is made."),
]


@strawberry.type
class WebhookQuery:
    """What may be asked to see; no type of the schema."""

    @strawberry.field(description="One's own webhooks; the office and an auditor see those of every partner.")
    async def webhooks(self, info: Info, first: First = None, after: After = None) -> Connection[Webhook]:
        """List webhooks."""
        page = read_page(first=first, after=after, kinds=(str,))
        last = cast("str", page.after[0]) if page.after is not None else None
        with or_later():
            async with info.context.app.pool.acquire() as db:
                rows = await subscriptions.webhooks_of(db, _whose(info), last, page.limit)
        return connect(rows, page, node=Webhook.of, key=lambda row: (row.id,))

    @strawberry.field(
        description="What became of the events for a webhook, the newest first; null where there is none."
    )
    async def webhook_deliveries(
        self,
        info: Info,
        webhook: Annotated[strawberry.ID, strawberry.argument(description="The webhook.")],
        state: Annotated[DeliveryState | None, strawberry.argument(description="Only those.")] = None,
        first: First = None,
        after: After = None,
    ) -> Connection[WebhookDelivery] | None:
        """List deliveries."""
        page = read_page(first=first, after=after, kinds=(int,))
        before = cast("int", page.after[0]) if page.after is not None else None
        with or_later():
            async with info.context.app.pool.acquire() as db:
                if await subscriptions.find(db, _whose(info), webhook) is None:
                    return None
                rows = await subscriptions.deliveries_of(db, webhook, state, before, page.limit)
                attempts = await subscriptions.attempts_of(db, [row.number for row in rows])
        return connect(
            rows,
            page,
            node=lambda row: WebhookDelivery.of(row, attempts.get(row.number, ())),
            key=lambda row: (row.number,),
        )

    @strawberry.field(description="Of what partners are told: every type with its version and its schema.")
    def webhook_event_types(self) -> list[WebhookEventKind]:
        """List types."""
        return [WebhookEventKind.of(kind) for kind in TYPES]


@strawberry.type
class WebhookMutation:
    """What may be done; no type of the schema."""

    @strawberry.mutation(description=f"Be told of events at a URL; a partner has at most {WEBHOOKS_MAX} webhooks.")
    async def subscribe_webhook(self, info: Info, input: SubscribeWebhookInput) -> SubscribeWebhookResult:
        """Make a webhook."""
        app, now = info.context.app, info.context.app.intake.clock()
        key, about = _key(info, input.idempotency_key), note_of(input.description.strip(), "description")
        if len(about) > DESCRIPTION_LENGTH_MAX:
            raise BadUserInputError(f"`description` may have {DESCRIPTION_LENGTH_MAX} characters.")
        types = _types(input.types, now)
        if not types:
            raise BadUserInputError("`types` must name at least one.")
        caller = info.context.caller_for(Role.AGENT)
        try:
            agreed = terms_of(app.partners.of(caller.subject))
            await check_endpoint(input.url, Policy(loopback=app.door.local or app.hooks_on_loopback), agreed.ports)
        except GuardError as refused:
            return WebhookRefused.of_url(refused.code)
        try:
            with or_later():
                async with app.pool.acquire() as db:
                    webhook, secret = await subscriptions.subscribe(
                        db, app.door.raw_texts, caller.actor, key, input.url, types, about, now
                    )
        except WebhookError as refused:
            if refused.code == Reason.MESSAGE_ID_REUSED:
                return WebhookRefused.of(Reason.MESSAGE_ID_REUSED, ["input", "idempotencyKey"])
            return WebhookRefused.of(AccessReason.LIMIT_REACHED, ["input"])
        return WebhookSubscribed(webhook=Webhook.of(webhook), secret=secret, replayed=secret is None)

    @strawberry.mutation(description="Change the secret of a webhook; for a day both sign.")
    async def rotate_webhook_secret(self, info: Info, input: WebhookKeyInput) -> WebhookSecretRotated:
        """Change a secret."""
        app, key = info.context.app, _key(info, input.idempotency_key)
        with or_later():
            async with app.pool.acquire() as db:
                rotated = await subscriptions.rotate(
                    db, app.door.raw_texts, _actor(info), input.webhook, key, app.intake.clock()
                )
        if rotated is None:
            raise _none(input.webhook)
        webhook, secret = rotated
        return WebhookSecretRotated(webhook=Webhook.of(webhook), secret=secret, replayed=secret is None)

    @strawberry.mutation(description="Send nothing to a webhook until it is resumed; events wait.")
    async def pause_webhook(self, info: Info, input: WebhookInput) -> WebhookChanged:
        """Pause a webhook."""
        with or_later():
            async with info.context.app.pool.acquire() as db:
                webhook = await subscriptions.pause(db, _actor(info), input.webhook)
        return _changed(webhook, input.webhook)

    @strawberry.mutation(description="Send to a webhook again, also after it answered 410; what waited is told first.")
    async def resume_webhook(self, info: Info, input: WebhookInput) -> WebhookChanged:
        """Resume a webhook."""
        app = info.context.app
        with or_later():
            async with app.pool.acquire() as db:
                webhook = await subscriptions.resume(db, _actor(info), input.webhook, app.intake.clock())
        return _changed(webhook, input.webhook)

    @strawberry.mutation(description="Delete a webhook, and all that waits for it.")
    async def delete_webhook(self, info: Info, input: WebhookInput) -> WebhookDeleted:
        """Delete a webhook."""
        with or_later():
            async with info.context.app.pool.acquire() as db:
                if not await subscriptions.delete(db, _actor(info), input.webhook):
                    raise _none(input.webhook)
        return WebhookDeleted(webhook=input.webhook)

    @strawberry.mutation(description="Send `test.ping.v1` to a webhook, whatever it is told of.")
    async def ping_webhook(self, info: Info, input: WebhookKeyInput) -> WebhookPinged:
        """Send a test."""
        app, key = info.context.app, _key(info, input.idempotency_key)
        with or_later():
            async with app.pool.acquire() as db:
                event = await subscriptions.ping(db, _actor(info), input.webhook, key, app.intake.clock())
        if event is None:
            raise _none(input.webhook)
        return WebhookPinged(event_id=strawberry.ID(event))

    @strawberry.mutation(description="Have events told again, under the same ids.")
    async def replay_webhooks(self, info: Info, input: ReplayWebhooksInput) -> WebhooksReplayed:
        """Tell events again."""
        app, now = info.context.app, info.context.app.intake.clock()
        if input.since is None and input.until is None and not input.ids:
            raise BadUserInputError("Give `from`, `to` or `ids`.")
        if input.ids is not None and len(input.ids) > REPLAY_IDS_MAX:
            raise BadUserInputError(f"`ids` may have {REPLAY_IDS_MAX}; this one has {len(input.ids)}.")
        types = _types(input.types or [], now)
        with or_later():
            async with app.pool.acquire() as db:
                count = await subscriptions.replay(
                    db,
                    _actor(info),
                    input.webhook,
                    now,
                    since=input.since,
                    until=input.until,
                    ids=input.ids or (),
                    types=types,
                )
        if count is None:
            raise _none(input.webhook)
        return WebhooksReplayed(count=count)


async def _schema(request: Request) -> Response:
    text = published(request.path_params["name"])
    if text is None:
        return PlainTextResponse("There is no such type.\n", 404)
    return Response(text, media_type="application/schema+json", headers={"cache-control": "public, max-age=3600"})


def schema_routes() -> list[Route]:
    """Give the routes of the published schemas."""
    return [Route(f"{SCHEMAS_PATH}/{{name}}.json", _schema)]


def _whose(info: Info) -> str | None:
    """Say whose webhooks are shown: a partner's own, to everybody else who may ask those of all."""
    return info.context.caller.actor if info.context.caller.kind is Kind.PARTNER else None


def _actor(info: Info) -> str:
    return info.context.caller_for(Role.AGENT).actor


def _key(info: Info, key: str) -> str:
    return info.context.app.door.raw_texts.guarded(key_of(key))


def _types(given: Sequence[str], now: datetime) -> list[str]:
    known = {kind.name for kind in subscribable(moscow_date(now))}
    unknown = next((name for name in given if name not in known), None)
    if unknown is not None:
        raise BadUserInputError(f"There is no type {unknown[:100]!r} to be told of: see `webhookEventTypes`.")
    return list(dict.fromkeys(given))


def _changed(webhook: subscriptions.Webhook | None, name: str) -> WebhookChanged:
    if webhook is None:
        raise _none(name)
    return WebhookChanged(webhook=Webhook.of(webhook))


def _none(name: str) -> BadUserInputError:
    return BadUserInputError(f"There is no webhook {name[:100]!r}.")
