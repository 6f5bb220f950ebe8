"""The log: one line a record, with the request's id, without anything personal."""

from __future__ import annotations

import io
import json
import logging
import sys
from typing import Any, Literal, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bels.observing.logs import ACCESS, log_request, set_up_logging
from bels.observing.request import CURRENT, Noted
from tests.observing.test_scrub import phones

LOG = logging.getLogger("bels.test_logs")
STYLES: list[Literal["text", "json"]] = ["text", "json"]


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """Read what was logged as JSON."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object_with_its_own_fields(stream: io.StringIO) -> None:
    set_up_logging("json", stream)

    LOG.warning("a batch of %d messages failed", 3, extra={"lane": 2})

    (line,) = lines(stream)
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "WARNING",
        "logger": "bels.test_logs",
        "message": "a batch of 3 messages failed",
        "lane": 2,
    }


@pytest.mark.parametrize("style", STYLES)
def test_every_line_of_a_request_carries_its_id(stream: io.StringIO, style: Literal["text", "json"]) -> None:
    set_up_logging(style, stream)

    token = CURRENT.set(Noted("0c25eb090aa4be23"))
    LOG.info("within")
    logging.getLogger("somebody.else").warning("within too")
    CURRENT.reset(token)
    LOG.info("after")

    within, too, after = stream.getvalue().splitlines()
    assert "0c25eb090aa4be23" in within
    assert "0c25eb090aa4be23" in too
    assert "request_id" not in after


def test_an_error_is_told_with_its_traceback(stream: io.StringIO) -> None:
    set_up_logging("json", stream)

    try:
        raise ValueError("no such household: 8 916 123-45-67")
    except ValueError:
        LOG.exception("it failed for %s", "ivan@example.ru")

    (line,) = lines(stream)
    assert line["message"] == "it failed for [e-mail]"
    assert line["error"].startswith("Traceback (most recent call last):")
    assert line["error"].endswith("builtins.ValueError: no such household: [phone]")


@given(st.one_of(phones(), st.emails()), st.sampled_from(STYLES))
def test_nothing_personal_is_logged_wherever_it_stands(personal: str, style: Literal["text", "json"]) -> None:
    # A fixture would not be undone between the examples: this handler stands alone.
    from bels.observing.logs import JsonLines, TextLines

    formatter = JsonLines() if style == "json" else TextLines()
    try:
        raise ValueError(personal)
    except ValueError as error:
        record = logging.LogRecord(
            "bels", logging.ERROR, "", 0, f"%s {personal.replace('%', '%%')}", (personal,), (ValueError, error, None)
        )
    record.__dict__.update({"extra": personal, "more": {"list": [personal]}, personal: 1})

    line = formatter.format(record)

    assert personal not in line
    assert json.dumps(personal)[1:-1] not in line


@pytest.mark.parametrize("style", STYLES)
def test_a_line_break_in_a_message_makes_no_new_line(stream: io.StringIO, style: Literal["text", "json"]) -> None:
    set_up_logging(style, stream)

    LOG.error("first\n2026-01-01T00:00:00 INFO bels all is well\r\x1b[2J %s", "second\n")

    assert len(stream.getvalue().splitlines()) == 1
    assert "\x1b" not in stream.getvalue()


def test_what_libraries_say_of_connections_is_left_out(stream: io.StringIO) -> None:
    set_up_logging("json", stream)

    logging.getLogger("uvicorn.access").warning("95.165.1.2 GET /channels/sms?from=79161234567")
    logging.getLogger("uvicorn.error").info('("95.165.1.2", 1) - "WebSocket /graphql?token=1" [accepted]')
    logging.getLogger("httpx").info("HTTP Request: GET https://kms/v1/transit?key=1")
    logging.getLogger("httpx._client").info("HTTP Request")
    logging.getLogger("uvicorn.error").error("Exception in ASGI application")

    assert [line["message"] for line in lines(stream)] == ["Exception in ASGI application"]


def test_a_record_that_cannot_be_written_does_not_print_its_arguments(
    stream: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    set_up_logging("text", stream)

    LOG.error("%d of", "Ivanov")

    assert stream.getvalue() == "a record of bels.test_logs could not be logged (TypeError)\n"
    assert "Ivanov" not in capsys.readouterr().err


def test_what_ends_the_process_is_told_without_what_is_personal(stream: io.StringIO) -> None:
    set_up_logging("json", stream)

    sys.excepthook(ValueError, ValueError("89161234567"), None)
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)

    (line,) = lines(stream)
    assert (line["level"], line["error"]) == ("CRITICAL", "builtins.ValueError: [phone]")


def noted() -> Noted:
    """Give what is noted of a request that failed."""
    request = Noted("my-phone.79161234567")
    request.by("CONSUMER", "u-abcdefgh234567ab")
    request.asked("mutation", "Of_79161234567", ("submitReading",))
    request.failed("FORBIDDEN")
    return request


def test_a_requests_line_has_what_an_operator_asks_for(stream: io.StringIO) -> None:
    set_up_logging("json", stream)

    log_request(logging.getLogger(ACCESS), noted(), "POST", "/graphql", 403, 0.00123)

    (line,) = lines(stream)
    assert cast("str", line.pop("time"))
    assert line == {
        "level": "INFO",
        "logger": "bels.access",
        "message": "request",
        "request_id": "my-phone.[phone]",
        "method": "POST",
        "route": "/graphql",
        "status": 403,
        "duration_ms": 1.23,
        "kind": "CONSUMER",
        "subject": "u-abcdefgh234567ab",
        "operation_kind": "mutation",
        "fields": ["submitReading"],
        "operation": "Of_[phone]",
        "code": "FORBIDDEN",
    }


def test_a_requests_line_is_short_for_a_person(stream: io.StringIO) -> None:
    set_up_logging("text", stream)

    log_request(logging.getLogger(ACCESS), noted(), "POST", "/graphql", 403, 0.00123)

    assert stream.getvalue().partition(" bels.access ")[2] == (
        "POST /graphql 403 1.23 ms submitReading FORBIDDEN by CONSUMER u-abcdefgh234567ab my-phone.[phone]\n"
    )
