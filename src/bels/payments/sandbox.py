"""What a sandbox shows a partner and does for it, as the API asks for it; a supplier that is none has nobody to ask."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from bels.domain.terms import Money, Period, Word

SCOPE = "bels.sandbox"
"""Where a request's sandbox stands in its ASGI scope: only the sandbox's own server puts one there."""

FAULTS_MAX = 1_000
"""Requests that may be asked to fail in one go."""

WAIT_S, WAIT_S_MAX = 5, 60
"""Seconds that a slow answer takes, where none are named and at most."""


class Fault(Word):
    """What may be made to happen to a request."""

    TRY_LATER = "TRY_LATER"
    """Nothing is stored, the protocol's own temporary answer is given."""
    LOST_ANSWER = "LOST_ANSWER"
    """Everything is stored, and the connection is closed instead of an answer."""
    SLOW = "SLOW"
    """The answer takes its time."""
    SERVER_ERROR = "SERVER_ERROR"
    """A proxy answers 502, the request never arrives."""
    PARKED = "PARKED"
    """The message waits for an operator."""
    DUPLICATE_WEBHOOK = "DUPLICATE_WEBHOOK"
    """The next webhook is delivered twice."""


class Milestone(Word):
    """A moment that something depends on, to go over."""

    NEXT_DAY = "NEXT_DAY"
    DEADLINE_25 = "DEADLINE_25"
    CLOSING = "CLOSING"
    DUE_DATE = "DUE_DATE"


class CaseState(Word):
    """Where a case of the checklist stands."""

    PASSED = "PASSED"
    OPEN = "OPEN"
    FAILED = "FAILED"


class SandboxReason(Word):
    """Why the sandbox does not do what it is asked."""

    BAD_TIME = "BAD_TIME"
    TOO_MUCH = "TOO_MUCH"
    NOT_A_PARTNER = "NOT_A_PARTNER"
    IDEMPOTENCY_KEY_REUSED = "IDEMPOTENCY_KEY_REUSED"


class SandboxRefusedError(Exception):
    """The sandbox cannot do that: a stable code, and what to do in Russian."""

    def __init__(self, code: SandboxReason, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


@dataclass(frozen=True, slots=True)
class SandboxAccount:
    """An account to try on: what its situation is called, and what it shows, in Russian."""

    number: str
    situation: str
    shows: str


@dataclass(frozen=True, slots=True)
class Moved:
    """What moving the clock led to: the closings and their roubles, and the reminders planned."""

    before: datetime
    now: datetime
    closed: tuple[Period, ...]
    closings: int
    refused: int
    charged: Money
    penalties: Money
    reminders: int


@dataclass(frozen=True, slots=True)
class Run:
    """One attempt of a partner at the checklist: its number from 1, when it began, and its accounts."""

    number: int
    began_at: datetime
    accounts: tuple[SandboxAccount, ...]


@dataclass(frozen=True, slots=True)
class Failing:
    """How requests are to fail: ``share`` percent of the next ``count``, drawn by ``seed``; ``wait_s`` is for slow answers."""

    fault: Fault
    count: int = 1
    share: int = 100
    seed: int = 0
    wait_s: int = WAIT_S


@dataclass(frozen=True, slots=True)
class Evidence:
    """What shows that a case was passed: a message by its receipt or the partner's id, or a request by its moment."""

    at: datetime
    receipt: str | None = None
    payment_id: str | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """A case of the checklist: what is expected, where it stands and by what, and what to try while it is open."""

    id: str
    title: str
    expected: str
    state: CaseState
    evidence: tuple[Evidence, ...]
    hint: str


@dataclass(frozen=True, slots=True)
class Certification:
    """The checklist of a partner's run, and its summary, which the sandbox has signed."""

    run: Run
    cases: tuple[Case, ...]
    summary: str

    @property
    def passed(self) -> int:
        """How many cases are passed."""
        return sum(case.state is CaseState.PASSED for case in self.cases)


class Sandbox(Protocol):
    """A supplier to try on. ``client`` is the partner that asks; whoever else asks is refused."""

    def now(self) -> datetime:
        """Tell the time of the sandbox."""

    async def run_of(self, client: str) -> Run:
        """Give a partner's run, with its accounts."""

    async def move(self, client: str, key: str, until: datetime | Milestone) -> tuple[Moved, bool]:
        """Move the clock forward, with all that falls due on the way; True beside it: this was done before, under this key.

        :raises SandboxRefusedError: it cannot be moved so.
        """

    async def reset(self, client: str, key: str) -> tuple[Run, bool]:
        """Begin a new run with new accounts."""

    async def fail_next(self, client: str, key: str, failing: Failing) -> bool:
        """Make requests of a partner fail; say whether this was asked before, under this key."""

    def failing_of(self, client: str) -> Sequence[Failing]:
        """Say what is still going to fail, with what is left of each count."""

    async def certify(self, client: str) -> Certification:
        """Look which cases a partner's run has passed."""


def sandbox_of(scope: MutableMapping[str, Any]) -> Sandbox | None:
    """Find the sandbox behind a request, None where the supplier is a real one."""
    found: Sandbox | None = scope.get(SCOPE)
    return found
