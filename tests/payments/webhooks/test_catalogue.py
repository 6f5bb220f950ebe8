"""The catalogue: published schemas are those of the code, signatures are those of the convention, and old versions end late."""

from __future__ import annotations

import json
from base64 import b64decode
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from bels.payments.webhooks.catalogue import (
    KEPT_BESIDE,
    PING,
    TYPES,
    EventType,
    checked,
    find_type,
    published,
    schema_text,
    subscribable,
)
from bels.payments.webhooks.signing import SECRET_BYTES, new_secret, signed

SCHEMAS = [pytest.param(kind, id=kind.name) for kind in TYPES]


@pytest.mark.parametrize("kind", SCHEMAS)
def test_the_published_schema_is_that_of_the_code(kind: EventType) -> None:
    assert published(kind.name) == schema_text(kind), "run `python -m bels.payments.webhooks.catalogue`; see its rules"
    schema = json.loads(schema_text(kind))
    assert schema["properties"]["type"] == {"const": kind.name}


def test_there_is_no_other_schema_and_no_way_to_other_files() -> None:
    for name in ("payment.received.v2", "", "../schema", "payment.received.v1.json"):
        assert published(name) is None
    assert find_type("nothing.v1") is None


def test_a_type_is_told_for_six_months_after_its_end_was_announced() -> None:
    for kind in TYPES:
        if kind.ends_on is not None:
            assert kind.announced_on is not None
            assert kind.ends_on - kind.announced_on >= KEPT_BESIDE
    assert len({kind.name for kind in TYPES}) == len(TYPES)
    assert PING not in {kind.name for kind in subscribable(date(2026, 11, 23))}


def test_sums_and_days_are_texts() -> None:
    sums = {"theirCount": 3, "theirSum": "2841.16", "ourCount": 3, "ourSum": "2841.16", "transferSum": "2812.75"}
    said = {"day": date(2024, 5, 20), **sums, "ourSum": Decimal("2841.16")}

    assert checked("reconciliation.closed.v1", said) == {"day": "2024-05-20", **sums}


def test_signatures_are_those_of_the_convention() -> None:
    # The example of the convention's own documentation.
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    body = b'{"test": 2432232314}'
    at = datetime.fromtimestamp(1614265330, UTC)

    headers = dict(signed("msg_p5jXN8AQM9LWM0D4loKWxJek", at, body, [secret, new_secret()]))

    assert headers["webhook-timestamp"] == "1614265330"
    first, second = headers["webhook-signature"].split(" ")
    assert first == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert second != first
    assert len(b64decode(new_secret().removeprefix("whsec_"))) == SECRET_BYTES
