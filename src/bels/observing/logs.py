"""The log: one line a record, as text for a person or as JSON for a collector, on the loggers of the standard library.

Every line that is written while a request is handled carries its id. Bodies, query strings, headers and addresses are never
logged, and what looks personal is masked (``scrub.py``).
"""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal, TextIO

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.msgspec import MsgspecFormatter

from bels.observing.request import CURRENT, FIELDS_MAX, Noted
from bels.observing.scrub import scrub, scrub_known, scrub_value, tell_error

ACCESS = "bels.access"
"""The logger of requests: one line each, when it has been answered."""

RISKY = (
    "uvicorn.access",
    "uvicorn.error",
    "httpx",
    "httpcore",
    "urllib3",
    "requests",
    "asyncio",
    "opentelemetry",
    "asyncssh",
)
"""Loggers of libraries that say addresses and query strings: of them only warnings and worse are taken."""

SILENT = ("uvicorn.access",)

_OWN = frozenset({*RESERVED_ATTRS, "taskName", "color_message", "request_id"})
_REQUEST_ID = "request_id"

Style = Literal["text", "json"]


def set_up_logging(style: Style, stream: TextIO, level: int = logging.INFO) -> None:
    """Send everything that is logged to a stream, in place of whatever the root logger had before."""
    handler = _Handler(stream)
    handler.setFormatter(JsonLines() if style == "json" else TextLines())
    handler.addFilter(RiskyLibraries())
    root = logging.getLogger()
    for each in list(root.handlers):
        root.removeHandler(each)
    root.addHandler(handler)
    root.setLevel(level)
    for name in RISKY:
        logging.getLogger(name).setLevel(logging.WARNING)
    # Nobody reads these, and finding them out takes a third of what a record costs.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    sys.excepthook = _log_the_end


class _Handler(logging.StreamHandler[TextIO]):
    """Write lines; where a record cannot be written, say so without what it says."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the library's name
        """Replace the standard library's report, which prints the arguments of the record."""
        kind = sys.exc_info()[0]
        try:
            self.stream.write(f"a record of {record.name} could not be logged ({kind.__name__ if kind else 'error'})\n")
        except (OSError, ValueError):
            # The stream is gone; there is nobody left to tell.
            return


def _log_the_end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger("bels").critical("bels ended by an error", exc_info=(kind, error, trace))


class RiskyLibraries(logging.Filter):
    """Leave out what libraries say of every connection: it has addresses and query strings."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether a record is written."""
        name = record.name
        if name.startswith("bels"):
            return True
        if name.startswith(SILENT):
            return False
        return record.levelno >= logging.WARNING or not name.startswith(RISKY)


def _current_id(record: logging.LogRecord) -> str:
    own: str | None = record.__dict__.get(_REQUEST_ID)
    if own is not None:
        return own
    current = CURRENT.get()
    return current.request_id if current is not None else ""


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    return {scrub(str(name)): scrub_value(each) for name, each in record.__dict__.items() if name not in _OWN}


def _at(created: float) -> str:
    return datetime.fromtimestamp(created, UTC).isoformat(timespec="milliseconds")


class JsonLines(MsgspecFormatter):
    """A line is a JSON object: time, level, logger, message, request_id where there is one, the record's own fields, error."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record as JSON."""
        line: dict[str, Any] = {"time": _at(record.created), "level": record.levelname, "logger": record.name}
        if isinstance(record, RequestRecord):
            return self.serialize_log_record({**line, "message": "request", **record.fields})
        line["message"] = scrub(record.getMessage())
        request_id = _current_id(record)
        if request_id:
            line["request_id"] = scrub_known(request_id)
        line |= _extras(record)
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = tell_error(record.exc_info[1])
        return self.serialize_log_record(line)


class TextLines(logging.Formatter):
    """A line is for a person: time, level, logger, message, fields as name=value; an error's traceback follows."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record as text."""
        head = f"{_at(record.created)} {record.levelname} {record.name}"
        if isinstance(record, RequestRecord):
            return f"{head} {_in_short(record.fields)}"
        extras = _extras(record)
        request_id = _current_id(record)
        if request_id:
            extras["request_id"] = scrub_known(request_id)
        said = "".join(f" {name}={each}" for name, each in extras.items())
        # A line break in what is logged must not look like the next line.
        line = f"{head} {_one_line(scrub(record.getMessage()) + said)}"
        if record.exc_info and record.exc_info[1] is not None:
            line += "\n" + tell_error(record.exc_info[1])
        return line


def _in_short(fields: dict[str, Any]) -> str:
    asked = " ".join(fields.get("fields", ()))
    by = f"by {fields['kind']} {fields['subject']}" if "kind" in fields else ""
    parts = (
        f"{fields['method']} {fields['route']} {fields['status']} {fields['duration_ms']} ms",
        asked,
        fields.get("code"),
        by,
        fields["request_id"],
    )
    return " ".join(part for part in parts if part)


def _one_line(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class RequestRecord(logging.LogRecord):
    """The line of one request; its fields are known to be clean and are written as they are."""

    fields: dict[str, Any]


def log_request(
    logger: logging.Logger, request: Noted, method: str, route: str, status: int, duration_s: float
) -> None:
    """Write the line of a request that has been answered."""
    record = RequestRecord(ACCESS, logging.INFO, "", 0, "request", (), None)
    fields: dict[str, Any] = {
        "request_id": scrub_known(request.request_id),
        "method": method,
        "route": route,
        "status": status,
        "duration_ms": round(duration_s * 1000, 2),
    }
    if request.kind:
        fields["kind"] = request.kind
        fields["subject"] = request.subject
    if request.operation_kind:
        fields["operation_kind"] = request.operation_kind
        fields["fields"] = request.fields[:FIELDS_MAX]
        if request.operation is not None:
            fields["operation"] = scrub_known(request.operation[:200])
        if request.operations > 1:
            fields["operations"] = request.operations
    if request.code:
        fields["code"] = request.code
    record.fields = fields
    logger.handle(record)
