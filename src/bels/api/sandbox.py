"""A partner's own supplier to try on: its accounts, its clock, faults on demand, and what was passed of the checklist."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import strawberry
from graphql import GraphQLError

from bels.api.context import Info
from bels.api.engine.scalars import BadUserInputError, Money
from bels.api.enums import describe
from bels.api.inputs import KEY
from bels.api.messages import key_of, or_later
from bels.domain.terms import Period
from bels.payments import sandbox
from bels.payments.sandbox import Failing, Sandbox, SandboxReason, SandboxRefusedError, sandbox_of

strawberry.enum(sandbox.Fault, name="SandboxFault", description="What may be made to happen to a request.")
strawberry.enum(sandbox.Milestone, name="SandboxMilestone", description="A moment to go over.")
strawberry.enum(sandbox.CaseState, name="CertificationState", description="Where a case stands.")
strawberry.enum(SandboxReason, description="Why the sandbox does not do what it is asked.")

FAULTS = {
    sandbox.Fault.TRY_LATER: "Nothing is stored; the protocol's own temporary answer is given.",
    sandbox.Fault.LOST_ANSWER: "Everything is stored; the connection is closed instead of an answer.",
    sandbox.Fault.SLOW: "The answer takes `waitS` seconds.",
    sandbox.Fault.SERVER_ERROR: "A proxy answers 502; the request never arrives.",
    sandbox.Fault.PARKED: "The message waits for an operator.",
    sandbox.Fault.DUPLICATE_WEBHOOK: "The next webhook is delivered twice.",
}
MILESTONES = {
    sandbox.Milestone.NEXT_DAY: "The next morning.",
    sandbox.Milestone.DEADLINE_25: "The morning after the last day of the readings of a month.",
    sandbox.Milestone.CLOSING: "The first night of the next month: the month is closed.",
    sandbox.Milestone.DUE_DATE: "The morning after the day by which a bill is to be paid.",
}
STATES = {
    sandbox.CaseState.PASSED: "There is evidence of it.",
    sandbox.CaseState.OPEN: "It has not been tried.",
    sandbox.CaseState.FAILED: "It was done wrong, and not right since.",
}
REASONS = {
    SandboxReason.BAD_TIME: "The clock goes forward only, and not too far.",
    SandboxReason.TOO_MUCH: "More is asked for than the sandbox gives.",
    SandboxReason.NOT_A_PARTNER: "The sandbox named its partners at its start; this is none of them.",
    SandboxReason.IDEMPOTENCY_KEY_REUSED: "The key was used for something else.",
}

for table in (FAULTS, MILESTONES, STATES, REASONS):
    describe(table)


@strawberry.type(description="An account of the sandbox: every run has the same, under numbers of its own.")
class SandboxAccount:
    """An account of the sandbox."""

    number: str = strawberry.field(description="Its number.")
    situation: str = strawberry.field(description='What its situation is called, for example "THREE_ZONES".')
    shows: str = strawberry.field(description="What it shows, in Russian.")

    @classmethod
    def of(cls, account: sandbox.SandboxAccount) -> SandboxAccount:
        """Show an account."""
        return cls(number=account.number, situation=account.situation, shows=account.shows)


@strawberry.type(description="What shows that a case was passed: a message, or a request.")
class CertificationEvidence:
    """What shows that a case was passed."""

    at: datetime = strawberry.field(description="When, by the sandbox's clock.")
    receipt: str | None = strawberry.field(description="The receipt of the message.")
    payment_id: str | None = strawberry.field(description="The partner's own id of it.")


@strawberry.type(description="A case that a partner lives through before it meets real accounts.")
class CertificationCase:
    """A case of the checklist."""

    id: strawberry.ID = strawberry.field(description="Its name for ever.")
    title: str = strawberry.field(description="What it is, in Russian.")
    expected: str = strawberry.field(description="What is expected of the partner, in Russian.")
    state: sandbox.CaseState = strawberry.field(description="Where it stands.")
    evidence: list[CertificationEvidence] = strawberry.field(description="By what, at most three; never its own word.")
    hint: str = strawberry.field(description="What to try, in Russian.")

    @classmethod
    def of(cls, case: sandbox.Case) -> CertificationCase:
        """Show a case."""
        return cls(
            id=strawberry.ID(case.id),
            title=case.title,
            expected=case.expected,
            state=case.state,
            evidence=[
                CertificationEvidence(at=each.at, receipt=each.receipt, payment_id=each.payment_id)
                for each in case.evidence
            ],
            hint=case.hint,
        )


@strawberry.type(description="What a partner has passed of the checklist in its run, by whichever protocol.")
class Certification:
    """The checklist of a partner."""

    run: int = strawberry.field(description="The run, from 1; `resetSandbox` begins the next one.")
    began_at: datetime = strawberry.field(description="When it began, by the sandbox's clock.")
    passed: int = strawberry.field(description="Cases that are passed.")
    of: int = strawberry.field(description="Cases.")
    complete: bool = strawberry.field(description="All are passed.")
    cases: list[CertificationCase] = strawberry.field(
        description="The cases, in the order in which they are best tried."
    )
    summary: str = strawberry.field(description="The same as a text in Russian, signed by the sandbox.")


@strawberry.type(description="Requests that are still going to fail.")
class PlannedFault:
    """Requests that are still going to fail."""

    fault: sandbox.Fault = strawberry.field(description="What happens to them.")
    count: int = strawberry.field(description="How many are left.")
    share: int = strawberry.field(description="How many in a hundred of them fail.")
    seed: int = strawberry.field(description="Which of them: the same seed draws the same.")
    wait_s: int = strawberry.field(description="Seconds that a slow answer takes.")

    @classmethod
    def of(cls, failing: Failing) -> PlannedFault:
        """Show what is going to fail."""
        return cls(
            fault=failing.fault, count=failing.count, share=failing.share, seed=failing.seed, wait_s=failing.wait_s
        )


@strawberry.type(description="The clock was moved, and what fell due on the way is done.")
class SandboxClockMoved:
    """The clock was moved."""

    replayed: bool = strawberry.field(description="This was done before, under the same key.")
    before: datetime = strawberry.field(description="The time before.")
    now: datetime = strawberry.field(description="The time after.")
    closed: list[Period] = strawberry.field(description="The months that were closed.")
    closings: int = strawberry.field(description="Closings of accounts.")
    refused: int = strawberry.field(description="Closings that were refused.")
    charged: Money = strawberry.field(description="Roubles billed, recalculations with them.")
    penalties: Money = strawberry.field(description="Roubles of penalties posted.")
    reminders: int = strawberry.field(description="Reminders planned.")


@strawberry.type(description="Faults are planned.")
class SandboxFaultsPlanned:
    """Faults are planned."""

    replayed: bool = strawberry.field(description="This was asked before, under the same key.")
    waiting: list[PlannedFault] = strawberry.field(description="All that is still going to fail.")


@strawberry.type(description="A new run of the partner has begun: new accounts, nothing passed yet, no faults.")
class SandboxReset:
    """A new run has begun."""

    replayed: bool = strawberry.field(description="This was done before, under the same key.")
    run: int = strawberry.field(description="The run.")
    began_at: datetime = strawberry.field(description="When it began, by the sandbox's clock.")
    accounts: list[SandboxAccount] = strawberry.field(description="Its accounts.")


@strawberry.type(description="The sandbox does not do that.")
class SandboxRefused:
    """The sandbox does not do that."""

    code: SandboxReason = strawberry.field(description="Why.")
    text: str = strawberry.field(description="What is wrong, in Russian.")

    @classmethod
    def of(cls, error: SandboxRefusedError) -> SandboxRefused:
        """Show a refusal."""
        return cls(code=error.code, text=error.text)


MoveSandboxClockResult = Annotated[
    SandboxClockMoved | SandboxRefused,
    strawberry.union("MoveSandboxClockResult", description="What became of moving the clock."),
]
FailNextResult = Annotated[
    SandboxFaultsPlanned | SandboxRefused,
    strawberry.union("FailNextResult", description="What became of asking for faults."),
]
ResetSandboxResult = Annotated[
    SandboxReset | SandboxRefused,
    strawberry.union("ResetSandboxResult", description="What became of beginning anew."),
]


@strawberry.input(
    description='Where to move the clock: over a milestone or to a moment. Example: `{over: CLOSING, idempotencyKey: "1"}`.'
)
class MoveSandboxClockInput:
    """Where to move the clock."""

    over: sandbox.Milestone | None = strawberry.field(default=None, description="The milestone to go over.")
    to: datetime | None = strawberry.field(default=None, description="Or the moment, at most 400 days ahead.")
    idempotency_key: strawberry.ID = strawberry.field(description=KEY)


@strawberry.input(
    description="What is to happen to this partner's next payments, cancellations, readings and registers. Example: "
    '`{fault: LOST_ANSWER, idempotencyKey: "1"}`. One request alone fails by the header `bels-sandbox-fault: lost-answer`.'
)
class FailNextInput:
    """What is to happen to the next requests."""

    fault: sandbox.Fault = strawberry.field(description="What happens.")
    count: int = strawberry.field(default=1, description="To how many requests, 1 to 1000.")
    share: int = strawberry.field(default=100, description="To how many in a hundred of them, 1 to 100.")
    seed: int = strawberry.field(default=0, description="To which of them: the same seed draws the same.")
    wait_s: int = strawberry.field(default=sandbox.WAIT_S, description="Seconds that a slow answer takes, at most 60.")
    idempotency_key: strawberry.ID = strawberry.field(description=KEY)


@strawberry.input(description="Begin anew.")
class ResetSandboxInput:
    """Begin anew."""

    idempotency_key: strawberry.ID = strawberry.field(description=KEY)


def _sandbox(info: Info) -> tuple[Sandbox, str]:
    """Give the sandbox behind a request, and which client asks.

    :raises GraphQLError: the supplier is a real one, or whoever asks is none of the sandbox's partners.
    """
    found = sandbox_of(info.context.connection.scope)
    if found is None:
        message = "This is no sandbox: nothing can be tried here. `bels serve --sandbox` serves one."
        raise GraphQLError(message, extensions={"code": "NOT_SANDBOX"})
    return found, info.context.caller.subject


def _refused(error: SandboxRefusedError) -> GraphQLError:
    """Say in a question what a mutation answers as data."""
    return GraphQLError(error.text, extensions={"code": error.code.value})


@strawberry.type
class SandboxQuery:
    """What may be asked to see; no type of the schema."""

    @strawberry.field(description="The time of the sandbox; NOT_SANDBOX where the supplier is a real one.")
    def sandbox_clock(self, info: Info) -> datetime | None:
        """Tell the time."""
        return _sandbox(info)[0].now()

    @strawberry.field(description="The accounts to try on, one of every situation; NOT_SANDBOX elsewhere.")
    async def sandbox_accounts(self, info: Info) -> list[SandboxAccount] | None:
        """List the accounts."""
        room, client = _sandbox(info)
        try:
            run = await room.run_of(client)
        except SandboxRefusedError as error:
            raise _refused(error) from None
        return [SandboxAccount.of(account) for account in run.accounts]

    @strawberry.field(
        description="What of the checklist the partner has passed, by what it did; NOT_SANDBOX elsewhere."
    )
    async def certification(self, info: Info) -> Certification | None:
        """Look through the checklist."""
        room, client = _sandbox(info)
        try:
            with or_later():
                found = await room.certify(client)
        except SandboxRefusedError as error:
            raise _refused(error) from None
        return Certification(
            run=found.run.number,
            began_at=found.run.began_at,
            passed=found.passed,
            of=len(found.cases),
            complete=found.passed == len(found.cases),
            cases=[CertificationCase.of(case) for case in found.cases],
            summary=found.summary,
        )


@strawberry.type
class SandboxMutation:
    """What may be done; no type of the schema."""

    @strawberry.mutation(
        description="Move the sandbox's clock forward and do all that falls due on the way: closings, penalties, reminders. "
        "It is one for all partners of the sandbox; tokens end by it."
    )
    async def move_sandbox_clock(self, info: Info, input: MoveSandboxClockInput) -> MoveSandboxClockResult:
        """Move the clock."""
        room, client = _sandbox(info)
        key = key_of(input.idempotency_key)
        until = input.over if input.over is not None else input.to
        if until is None or (input.over is not None and input.to is not None):
            raise BadUserInputError("Give `over` or `to`, one of the two.")
        try:
            with or_later():
                moved, replayed = await room.move(client, key, until)
        except SandboxRefusedError as error:
            return SandboxRefused.of(error)
        return SandboxClockMoved(
            replayed=replayed,
            before=moved.before,
            now=moved.now,
            closed=list(moved.closed),
            closings=moved.closings,
            refused=moved.refused,
            charged=moved.charged,
            penalties=moved.penalties,
            reminders=moved.reminders,
        )

    @strawberry.mutation(description="Make this partner's next requests fail, in the protocol's own words.")
    async def fail_next(self, info: Info, input: FailNextInput) -> FailNextResult:
        """Plan faults."""
        room, client = _sandbox(info)
        key = key_of(input.idempotency_key)
        failing = Failing(input.fault, input.count, input.share, input.seed, input.wait_s)
        try:
            with or_later():
                replayed = await room.fail_next(client, key, failing)
        except SandboxRefusedError as error:
            return SandboxRefused.of(error)
        return SandboxFaultsPlanned(
            replayed=replayed, waiting=[PlannedFault.of(each) for each in room.failing_of(client)]
        )

    @strawberry.mutation(
        description="Begin a new run of this partner: new accounts, an empty checklist, the same credentials. Bills are due "
        "on the day on which it begins: the clock goes on to such a day."
    )
    async def reset_sandbox(self, info: Info, input: ResetSandboxInput) -> ResetSandboxResult:
        """Begin anew."""
        room, client = _sandbox(info)
        try:
            with or_later():
                run, replayed = await room.reset(client, key_of(input.idempotency_key))
        except SandboxRefusedError as error:
            return SandboxRefused.of(error)
        return SandboxReset(
            replayed=replayed,
            run=run.number,
            began_at=run.began_at,
            accounts=[SandboxAccount.of(account) for account in run.accounts],
        )
