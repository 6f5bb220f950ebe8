"""The one way in: every acknowledged message is in the journal exactly once, and half a message never is."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from bels import intake as intake_module
from bels.domain.account import Account
from bels.domain.commands import (
    CloseAccount,
    ClosePeriod,
    Command,
    ConfirmReading,
    InstallMeter,
    LinkChannel,
    RecordAccessRefusal,
    RejectReading,
    RemoveMeter,
    ReportMeterFailure,
    SubmitReading,
    TakeControlReading,
    UnlinkChannel,
)
from bels.domain.decide import decide
from bels.domain.events import CommandRefused, Event, PeriodClosed, ReadingAccepted, ReadingRefused
from bels.domain.periods import over_at
from bels.domain.rulebook import Rulebook
from bels.domain.terms import Channel, EntryNumber, FailureCause, MeterModel, Period, Reason, Register, Role
from bels.embedded import embedded, ensure_running, postmaster_pid
from bels.intake import MESSAGE_ID_LENGTH_MAX, Intake
from bels.journal.codec import MAPPER, to_entry
from bels.journal.entry import Behalf, Entry, Ground
from bels.journal.journal import find_messages, find_parked, find_receipt, install, read
from bels.journal.notify import CHANGES
from bels.journal.receipts import RECEIPT_ALPHABET
from bels.messages import Message, Outcome, Status, TryLater, outcomes_of
from bels.projections import readings
from bels.projections.project import install_views
from tests.rules import DEFAULT_RULEBOOK
from tests.supplier import METER, audit, message, moment, numbers, open_household, reading, views


@asynccontextmanager
async def another_process(url: str) -> AsyncIterator[tuple[Intake, asyncpg.Pool]]:
    """Run a second intake as another process would: with its own pool and its own memory."""
    async with (
        asyncpg.create_pool(url, min_size=1, max_size=4) as pool,
        Intake(pool, DEFAULT_RULEBOOK).running() as intake,
    ):
        yield intake, pool


# A message is booked once ----------------------------------------------------------------------------------------


async def test_the_same_message_again_gets_its_first_outcome(pool: asyncpg.Pool, intake: Intake, database: str) -> None:
    await intake.handle(open_household("1000000"))
    sent = reading("1000000", "sms 1", 185)

    first = await intake.submit(sent)
    again = await intake.submit(sent)
    async with another_process(database) as (other, _):
        elsewhere = await other.submit(sent)

    assert first.status is Status.ACCEPTED
    assert isinstance(first.events[0], ReadingAccepted)
    assert not first.repeated
    assert again == elsewhere == replace(first, repeated=True)
    assert await audit(pool, [first]) == 3


async def test_what_came_in_between_does_not_change_the_first_outcome(pool: asyncpg.Pool, intake: Intake) -> None:
    await intake.handle(open_household("1000000"))
    first = await intake.submit(reading("1000000", "sms 1", 185))
    await intake.submit(reading("1000000", "sms 2", 190, moment(1, 21)))
    await intake.submit(message("1000000", CloseAccount(moment(2, 3), "sold"), "act"))

    assert await intake.submit(reading("1000000", "sms 1", 185)) == replace(first, repeated=True)
    await audit(pool)


async def test_another_content_under_the_same_id_is_refused_and_changes_nothing(
    pool: asyncpg.Pool, intake: Intake
) -> None:
    await intake.handle(open_household("1000000"))
    first = await intake.submit(reading("1000000", "sms 1", 185))
    before = await views(pool)

    (reused,) = (await intake.submit(reading("1000000", "sms 1", 186))).events
    act = await intake.submit(message("1000000", CloseAccount(moment(2, 3), "sold"), "open 1000000"))

    assert isinstance(reused, ReadingRefused)
    assert (reused.reason, reused.detail) == (Reason.MESSAGE_ID_REUSED, first.receipt)
    assert isinstance(act.events[0], CommandRefused)
    assert act.events[0].reason is Reason.MESSAGE_ID_REUSED
    assert act.status is Status.REFUSED
    assert await views(pool) == before
    assert await audit(pool) == 3


async def test_a_message_that_comes_only_with_another_is_stored_with_it_alone(
    pool: asyncpg.Pool, intake: Intake, database: str
) -> None:
    await intake.handle(open_household("1000000"))
    first = reading("1000000", "pay 1", 185)
    with_it = replace(reading("1000000", "pay 1 reading", 186), only_with="pay 1", raw=first.raw)
    other = reading("1000000", "pay 1", 190)
    with_the_other = replace(with_it, message_id="pay 1 other", raw=other.raw)
    refused = reading("1000000", "pay 2", 12_345_678)
    with_the_refused = replace(with_it, message_id="pay 2 reading", only_with="pay 2", raw=refused.raw)

    told = await intake.handle([first, with_it, other, with_the_other, refused, with_the_refused])
    async with another_process(database) as (elsewhere, _):
        alone = await elsewhere.handle([with_it, with_the_other, with_the_refused])
        with pytest.raises(TryLater):
            await elsewhere.handle([replace(with_it, message_id="pay 3 reading", only_with="pay 3")])

    assert [outcome.status for outcome in told[:2]] == [Status.ACCEPTED] * 2
    assert [outcome.receipt for outcome in told[2:]] == [
        told[0].receipt,
        told[0].receipt,
        told[4].receipt,
        told[4].receipt,
    ]
    assert [outcome.receipt for outcome in alone] == [told[1].receipt, told[0].receipt, told[4].receipt]
    async with pool.acquire() as db:
        names = [(Channel.SMS.value, name) for name in ("pay 1 other", "pay 2 reading", "pay 3 reading")]
        assert await find_messages(db, names) == []


async def test_an_id_names_a_message_on_its_own_channel_only(pool: asyncpg.Pool, intake: Intake) -> None:
    await intake.handle(open_household("1000000"))
    by_sms, by_voice = reading("1000000", "1", 185), reading("1000000", "1", 190)

    outcomes = await intake.handle([by_sms, replace(by_voice, channel=Channel.VOICE)])

    assert [o.repeated for o in outcomes] == [False, False]
    assert len({o.receipt for o in outcomes}) == 2
    await audit(pool, outcomes)


async def test_the_same_id_twice_in_one_batch_is_booked_once(pool: asyncpg.Pool, intake: Intake) -> None:
    sent = reading("1000000", "sms 1", 185)

    outcomes = await intake.handle(
        [*open_household("1000000"), sent, sent, reading("1000000", "sms 1", 999), *open_household("1000000")]
    )

    assert [o.repeated for o in outcomes] == [False, False, False, True, False, True, True]
    assert replace(outcomes[2], repeated=True) == outcomes[3]
    assert isinstance(outcomes[4].events[0], ReadingRefused)
    assert outcomes[4].events[0].reason is Reason.MESSAGE_ID_REUSED
    assert outcomes[5].receipt == outcomes[0].receipt
    assert await audit(pool, outcomes) == 3


async def test_the_same_message_through_two_processes_at_once_is_booked_once(
    pool: asyncpg.Pool, intake: Intake, database: str
) -> None:
    await intake.handle([m for number in numbers(1_000_000, 5) for m in open_household(number)])
    sent = [reading(str(1_000_000 + n % 5), f"sms {n}", 100 + n) for n in range(40)]

    async with another_process(database) as (other, _):
        here, there = await asyncio.gather(
            asyncio.gather(*(intake.submit(m) for m in sent)),
            asyncio.gather(*(other.submit(m) for m in sent)),
        )

    assert [o.receipt for o in here] == [o.receipt for o in there]
    assert [o.events for o in here] == [o.events for o in there]
    assert all(a.repeated != b.repeated for a, b in zip(here, there, strict=True))
    await audit(pool, here)
    assert await pool.fetchval("SELECT count(*) FROM message WHERE channel = 'sms'") == 40


async def test_two_ids_that_differ_only_far_beyond_the_limit_are_two_messages(
    pool: asyncpg.Pool, intake: Intake
) -> None:
    await intake.handle(open_household("1000000"))
    long = "x" * 5_000
    ids = (long + "a", long + "b", "x" * MESSAGE_ID_LENGTH_MAX, "nul\x00", "nul\\x00", "\ud83d", "\\ud83d")
    sent = [reading("1000000", id_, 185 + n) for n, id_ in enumerate(ids)]

    first = await intake.handle(sent)
    again = [await intake.submit(m) for m in sent]

    assert not any(o.repeated for o in first)
    assert again == [replace(o, repeated=True) for o in first]
    assert len({o.receipt for o in first}) == len(sent)
    assert max(len(r["message_id"]) for r in await pool.fetch("SELECT * FROM message")) <= MESSAGE_ID_LENGTH_MAX
    await audit(pool, first)


@pytest.mark.parametrize(
    "id_", ["", " ", "'; DROP TABLE journal; --", "%s$1\\", "a\nb\tc", "йцукен🙂", "\u202e1", "NULL"]
)
async def test_a_message_id_may_be_any_text(pool: asyncpg.Pool, intake: Intake, id_: str) -> None:
    first = await intake.handle([*open_household("1000000"), reading("1000000", id_, 185)])

    assert await intake.submit(reading("1000000", id_, 185)) == replace(first[2], repeated=True)
    await audit(pool, first)


# The same reading again is one reading ---------------------------------------------------------------------------


async def test_the_same_reading_by_another_way_is_answered_with_the_first(
    pool: asyncpg.Pool, intake: Intake, database: str
) -> None:
    await intake.handle(open_household("1000000"))
    first = await intake.submit(reading("1000000", "sms 1", 185))
    by_voice = replace(reading("1000000", "call 1", 185, moment(1, 20, 13)), channel=Channel.VOICE)

    again = await intake.submit(by_voice)
    once_more = await intake.submit(by_voice)
    async with another_process(database) as (other, _):
        elsewhere = await other.submit(by_voice)

    assert again == once_more == elsewhere == replace(first, repeated=True)
    assert await audit(pool, [first]) == 3
    assert await pool.fetchval("SELECT raw FROM message WHERE message_id = 'call 1'") == by_voice.raw


async def test_readings_that_arrive_together_and_say_the_same_are_one(pool: asyncpg.Pool, intake: Intake) -> None:
    await intake.handle(open_household("1000000"))
    first, second, corrected, third = (
        reading("1000000", f"sms {n}", value) for n, value in enumerate((185, 185, 190, 190))
    )

    outcomes = await intake.handle([first, second, second, corrected, third, third, replace(second, raw="другое")])

    assert [o.repeated for o in outcomes] == [False, True, True, False, True, True, False]
    assert outcomes[1] == outcomes[2] == replace(outcomes[0], repeated=True)
    assert outcomes[4] == outcomes[5]
    assert (outcomes[4].receipt, outcomes[4].events[:1]) == (outcomes[3].receipt, outcomes[3].events[:1])
    assert isinstance(outcomes[6].events[0], ReadingRefused)
    assert outcomes[6].events[0].reason is Reason.MESSAGE_ID_REUSED
    # An act, its meter, two readings, of which one supersedes the other.
    assert await audit(pool, outcomes) == 5
    assert await pool.fetchval("SELECT count(*) FROM message") == 2 + 4


async def test_a_row_that_comes_late_repeats_the_reading_of_its_own_day(pool: asyncpg.Pool, intake: Intake) -> None:
    await intake.handle(open_household("1000000"))
    first = await intake.submit(reading("1000000", "sms 1", 185))
    closing = ClosePeriod(Period("2024-01"), over_at(Period("2024-01")))
    await intake.submit(message("1000000", closing, "closing"))
    await intake.submit(reading("1000000", "sms 2", 300, moment(2, 20)))
    row = replace(reading("1000000", "row 7", 185, moment(1, 20, 23)), channel=Channel.BANK)

    late = await intake.submit(row)
    other = await intake.submit(replace(row, message_id="row 8", command=reading("1", "", 186, moment(1, 20)).command))

    assert late == replace(first, repeated=True)
    assert not other.repeated
    assert isinstance(other.events[0], ReadingAccepted)
    await audit(pool, [late, other])


async def test_eight_who_send_the_same_at_once_in_two_processes_hear_of_one_reading(
    pool: asyncpg.Pool, intake: Intake, database: str
) -> None:
    await intake.handle(open_household("1000000"))
    sent = [reading("1000000", f"sms {n}", 185) for n in range(8)]

    async with another_process(database) as (other, _):
        outcomes = await asyncio.gather(*((other if n % 2 else intake).submit(m) for n, m in enumerate(sent)))

    assert len({o.receipt for o in outcomes}) == 1
    assert sorted(o.repeated for o in outcomes) == [False] + [True] * 7
    assert await audit(pool, outcomes) == 3


# For whom an operator acts ---------------------------------------------------------------------------------------


async def test_who_acted_for_whom_and_by_what_right_stands_in_every_entry(
    pool: asyncpg.Pool, intake: Intake, database: str
) -> None:
    behalf = Behalf("REPRESENTATIVE", Ground.POWER_OF_ATTORNEY, "доверенность …4821 2024-01-15")
    await intake.handle(open_household("1000000"))
    first = replace(reading("1000000", "desk 1", 185), channel=Channel.OFFICE, actor="operator:u-7")
    corrected = replace(reading("1000000", "desk 2", 190, moment(1, 21)), channel=Channel.OFFICE, behalf=behalf)

    await intake.handle([first, corrected])
    async with pool.acquire() as db:
        entries = await read(db, {"1000000": 2})
    state = await pool.fetchval("SELECT convert_from(state, 'UTF8') FROM journal WHERE originator_version = 3")
    told = await pool.fetchval(
        "SELECT convert_from(state, 'UTF8')::json ->> 'behalf' FROM journal WHERE originator_version = 5"
    )

    assert [entry.behalf for entry in entries] == [None, behalf, behalf]
    assert (entries[0].actor, entries[1].actor) == ("operator:u-7", "phone:5f")
    assert "behalf" not in state
    assert json.loads(told) == {
        "who": "REPRESENTATIVE",
        "ground": "POWER_OF_ATTORNEY",
        "document": "доверенность …4821 2024-01-15",
    }


def test_for_whom_an_operator_acted_is_read_from_every_shape_of_an_event() -> None:
    examples: dict[str, str] = json.loads((Path(__file__).parent / "journal/stored_examples.json").read_text("utf-8"))
    behalf = Behalf("HOLDER", Ground.LETTER)

    for topic, state in examples.items():
        told = {**json.loads(state), "behalf": {"who": "HOLDER", "ground": "LETTER"}}
        entry = to_entry("1000000", 12, topic, json.dumps(told).encode())
        row = MAPPER.to_stored_event(entry)

        assert to_entry("1000000", 12, topic, state.encode()) == replace(entry, behalf=None), topic
        assert MAPPER.to_domain_event(row) == entry
        assert entry.behalf == behalf


# An outcome for each ---------------------------------------------------------------------------------------------


async def test_outcomes_come_in_the_order_of_the_messages(pool: asyncpg.Pool, intake: Intake) -> None:
    named = numbers(1_000_000, 30)
    await intake.handle([m for number in named for m in open_household(number)])
    sent = [reading(number, f"sms {number} {n}", 100 + n) for n in range(3) for number in reversed(named)]

    outcomes = await intake.handle(sent)

    assert [o.account for o in outcomes] == [m.account for m in sent]
    for m, o in zip(sent, outcomes, strict=True):
        (event, *_) = o.events
        assert isinstance(event, ReadingAccepted)
        assert isinstance(m.command, SubmitReading)
        assert str(event.values[Register.TOTAL]) == m.command.values["total"]
    await audit(pool, outcomes)


async def test_a_batch_of_two_thousand_five_hundred_is_handled_whole(pool: asyncpg.Pool, intake: Intake) -> None:
    named = numbers(1_000_000, 500)
    opened = await intake.handle([m for number in named for m in open_household(number)])
    outcomes = await intake.handle([reading(number, f"{n} {number}", 100 + n) for n in range(5) for number in named])

    assert len(outcomes) == 2_500
    assert {o.status for o in outcomes} == {Status.ACCEPTED}
    # Each later reading of the same period supersedes the one before it.
    assert await audit(pool, [*opened, *outcomes]) == 1_000 + 500 + 4 * 500 * 2
    assert await pool.fetchval("SELECT count(*) FROM reading WHERE status = 'ACCEPTED' AND kind = 'SENT'") == 500


async def test_no_messages_are_no_work(pool: asyncpg.Pool, intake: Intake) -> None:
    assert await intake.handle([]) == []
    assert await audit(pool) == 0


async def test_a_message_about_an_unknown_account_has_a_lasting_receipt_and_no_entry(
    pool: asyncpg.Pool, intake: Intake
) -> None:
    outcomes = await intake.handle(
        [
            reading("7654321", "unknown", 185),
            reading("не номер", "bad", 185),
            message("7654321", CloseAccount(moment(2, 3), "sold"), "act"),
        ]
    )
    # The account is opened afterwards: the first outcome stays what it was.
    await intake.handle(open_household("7654321"))

    async with pool.acquire() as db:
        for outcome in outcomes:
            recorded = await find_receipt(db, outcome.receipt)
            assert recorded is not None
            assert await outcomes_of(db, [recorded]) == [replace(outcome, repeated=True)]
        assert await find_receipt(db, "00000000") is None
    assert [o.version for o in outcomes] == [None, None, None]
    assert [o.status for o in outcomes] == [Status.REFUSED] * 3
    assert [getattr(o.events[0], "reason", None) for o in outcomes] == [
        Reason.UNKNOWN_ACCOUNT,
        Reason.BAD_ACCOUNT,
        Reason.UNKNOWN_ACCOUNT,
    ]
    assert await intake.submit(reading("7654321", "unknown", 185)) == replace(outcomes[0], repeated=True)
    assert await audit(pool, outcomes) == 2


async def test_a_number_of_any_length_is_refused_as_a_number(pool: asyncpg.Pool, intake: Intake) -> None:
    # Longer than an index of PostgreSQL can hold: it must not stop the batch.
    outcomes = await intake.handle([*open_household("1000000"), reading(secrets.token_hex(50_000), "long", 185)])

    assert isinstance(outcomes[2].events[0], ReadingRefused)
    assert outcomes[2].events[0].reason is Reason.BAD_ACCOUNT
    await audit(pool, outcomes)


async def test_a_sender_of_any_length_is_kept_short(pool: asyncpg.Pool, intake: Intake) -> None:
    # Random letters, so that PostgreSQL cannot compress them into its index.
    long = replace(reading("1000000", "sms 1", 185), actor=secrets.token_hex(50_000))

    outcomes = await intake.handle([*open_household("1000000"), long])

    assert outcomes[2].status is Status.ACCEPTED
    assert await pool.fetchval("SELECT actor FROM reading WHERE kind = 'SENT'") == long.actor[:200]
    await audit(pool, outcomes)


async def test_words_that_are_no_command_are_answered_and_kept(pool: asyncpg.Pool, intake: Intake) -> None:
    await intake.handle(open_household("1000000"))
    words = ReadingRefused(Reason.NOT_UNDERSTOOD, moment(1, 20), {"text": "почём свет?"})

    here, nowhere = await intake.handle(
        [message("1000000", words, "a", "почём свет?"), message("", words, "b", "почём свет?")]
    )

    assert (here.status, here.events, here.version) == (Status.REFUSED, (words,), 3)
    assert (nowhere.status, nowhere.events, nowhere.version) == (Status.REFUSED, (words,), None)
    assert await audit(pool, [here, nowhere]) == 3


async def test_a_reading_received_after_the_clock_is_refused(pool: asyncpg.Pool) -> None:
    now = datetime(2024, 1, 20, 9, tzinfo=UTC)
    intake = Intake(pool, DEFAULT_RULEBOOK, lambda: now)
    await intake.handle(open_household("1000000"))

    early, in_time = await intake.handle(
        [
            reading("1000000", "early", 185, now + timedelta(microseconds=1)),
            reading("1000000", "in time", 185, now),
        ]
    )

    assert isinstance(early.events[0], ReadingRefused)
    assert early.events[0].reason is Reason.RECEIVED_IN_FUTURE
    assert in_time.status is Status.ACCEPTED
    assert in_time.recorded_at == now
    await audit(pool, [early, in_time])


async def test_receipts_can_be_dictated_and_are_all_different(pool: asyncpg.Pool, intake: Intake) -> None:
    outcomes = await intake.handle([reading("7654321", str(n), n) for n in range(1_000)])

    receipts = {o.receipt for o in outcomes}
    assert len(receipts) == 1_000
    assert {len(receipt) for receipt in receipts} == {8}
    assert set("".join(receipts)) == set(RECEIPT_ALPHABET)
    assert not set("01IO") & set(RECEIPT_ALPHABET)


async def test_a_receipt_that_is_taken_is_drawn_again(
    pool: asyncpg.Pool, intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = iter(["AAAAAAAA", "AAAAAAAA", "BBBBBBBB"])
    monkeypatch.setattr(intake_module, "new_receipts", lambda count: drawn)

    first = await intake.submit(reading("7654321", "1", 1))
    second = await intake.submit(reading("7654321", "2", 2))

    assert (first.receipt, second.receipt) == ("AAAAAAAA", "BBBBBBBB")


# Many writers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accounts", [1, 5, 64])
async def test_sixty_four_writers_in_two_processes_book_every_message_once(
    pool: asyncpg.Pool, intake: Intake, database: str, accounts: int
) -> None:
    named = numbers(1_000_000, accounts)
    await intake.handle([m for number in named for m in open_household(number)])

    async def write(process: Intake, writer: int) -> list[Outcome]:
        number = named[writer % accounts]
        return [await process.submit(reading(number, f"{writer} {n}", 100 + 5 * writer + n)) for n in range(5)]

    async with another_process(database) as (other, _):
        written = await asyncio.gather(*(write((intake, other)[n // 32], n) for n in range(64)))

    outcomes = [o for some in written for o in some]
    assert len({o.receipt for o in outcomes}) == 64 * 5
    assert not any(o.repeated for o in outcomes)
    assert len({(o.account, o.version) for o in outcomes}) == 64 * 5
    await audit(pool, outcomes)
    assert await pool.fetchval("SELECT count(*) FROM reading WHERE kind = 'SENT'") == 64 * 5


@pytest.mark.parametrize("there", ["same", "other"])
async def test_batches_that_overlap_in_opposite_orders_never_deadlock(
    pool: asyncpg.Pool, intake: Intake, database: str, there: str
) -> None:
    named = numbers(1_000_000, 21)
    await intake.handle([m for number in named for m in open_household(number)])
    up = [reading(number, f"same {number}", 150) for number in named]
    down = [reading(number, f"{there} {number}", 150) for number in reversed(named)]
    held = {
        "same": "INSERT INTO message SELECT channel, 'same ' || account, 'AAAAAAAA', account, '', '', now(), '', 0, 0,"
        " NULL, '' FROM unnest(ARRAY['sms']) AS channel, unnest($1::text[]) AS account",
        "other": "INSERT INTO journal (originator_id, originator_version, topic, state, digest)"
        " SELECT account, 3, '', '', sha256('') FROM unnest($1::text[]) AS account",
    }[there]

    # Somebody holds the middle, so that both are halfway when it is let go.
    holder = await asyncpg.connect(database)
    holding = holder.transaction()
    await holding.start()
    await holder.execute(held, [named[10]])
    async with another_process(database) as (other, _):
        handling = [asyncio.create_task(intake.handle(up)), asyncio.create_task(other.handle(down))]
        blocked = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        async with asyncio.timeout(10):
            while await pool.fetchval(blocked) < 2:  # noqa: ASYNC110 - PostgreSQL tells nobody that it waits
                await asyncio.sleep(0.005)
        await holding.rollback()
        handled = await asyncio.gather(*handling)
    await holder.close()

    await audit(pool, [o for some in handled for o in some])
    assert await pool.fetchval("SELECT count(*) FROM message WHERE channel = 'sms'") == len(
        {m.message_id for m in [*up, *down]}
    )
    assert await pool.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == 0


async def test_what_another_process_wrote_is_seen_by_the_next_message(intake: Intake, database: str) -> None:
    await intake.handle(open_household("1000000"))
    async with another_process(database) as (other, _):
        for n in range(3):
            here = await intake.submit(reading("1000000", f"here {n}", 100 + 2 * n))
            there = await other.submit(reading("1000000", f"there {n}", 101 + 2 * n))
            assert here.version is not None
            assert there.version is not None
            assert there.version == here.version + len(here.events)
            assert await intake.account("1000000") == await other.account("1000000")


async def test_memory_is_bounded_and_forgotten_accounts_are_read_again(pool: asyncpg.Pool) -> None:
    intake = Intake(pool, DEFAULT_RULEBOOK, remembered_max=3)
    named = numbers(1_000_000, 10)

    outcomes = await intake.handle([m for number in named for m in open_household(number)])
    outcomes += await intake.handle([reading(number, number, 185) for number in named])

    assert len(intake._remembered) == 3
    assert {o.status for o in outcomes} == {Status.ACCEPTED}
    await audit(pool, outcomes)


async def test_every_commit_names_the_accounts_that_it_changed(
    pool: asyncpg.Pool, intake: Intake, database: str
) -> None:
    heard: list[str] = []
    listener = await asyncpg.connect(database)
    await listener.add_listener(CHANGES, lambda _c, _pid, _channel, payload: heard.append(str(payload)))
    named = numbers(1_000_000, 1_000)

    await intake.handle([m for number in named for m in open_household(number)])
    await intake.handle([reading(number, number, 150) for number in named])
    await intake.handle([reading(named[7], "sms 1", 185), reading("7654321", "unknown", 185)])
    await intake.handle([reading(named[7], "sms 1", 185), reading("7654321", "unknown", 185)])
    await listener.fetchval("SELECT 1")
    await listener.close()

    # A thousand messages a transaction, 900 numbers a notification; a repeat and a stranger change nothing.
    assert [len(payload.split(",")) for payload in heard] == [500, 500, 900, 100, 1]
    assert sorted(",".join(heard[:2]).split(",")) == sorted(",".join(heard[2:4]).split(",")) == named
    assert heard[4] == named[7]


# Poison ----------------------------------------------------------------------------------------------------------


async def test_a_message_on_which_the_rules_fail_is_parked_and_its_neighbours_are_not(
    pool: asyncpg.Pool, intake: Intake, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(account: Account, command: Command, rulebook: Rulebook) -> tuple[Event, ...]:
        if isinstance(command, SubmitReading) and command.values["total"] == "666":
            raise ZeroDivisionError("a bug")
        return decide(account, command, rulebook)

    await intake.handle(open_household("1000000"))
    monkeypatch.setattr(intake_module, "decide", failing)
    with caplog.at_level(logging.CRITICAL, "bels.intake"):
        before, poison, after = await intake.handle(
            [reading("1000000", "a", 185), reading("1000000", "b", 666), reading("1000000", "c", 190)]
        )
        again = await intake.submit(reading("1000000", "b", 666))

    assert [o.status for o in (before, poison, after)] == [Status.ACCEPTED, Status.PARKED, Status.ACCEPTED]
    assert (poison.events, poison.version) == ((), None)
    assert again == replace(poison, repeated=True)
    async with pool.acquire() as db:
        (parked,) = await find_parked(db, None, 10)
    assert (parked.raw, parked.receipt, parked.account) == ("1000000#666", poison.receipt, "1000000")
    await audit(pool, [before, poison, after])


NUL = "до\x00после"

POISON: list[Command | ReadingRefused] = [
    SubmitReading(moment(1, 20), {"total": NUL}),
    SubmitReading(moment(1, 20), {NUL: "1"}),
    SubmitReading(moment(1, 20), {"total": "12\ud83d"}),
    SubmitReading(moment(1, 20), {"total": "1"}, meter=NUL),
    SubmitReading(moment(1, 20).replace(tzinfo=None), {"total": "1"}),
    ReadingRefused(Reason.NOT_UNDERSTOOD, moment(1, 20), {"text": NUL}),
    ReadingRefused(Reason.NOT_UNDERSTOOD, moment(1, 20), {"text": "\udfff"}),
    InstallMeter(MeterModel(NUL, 5, (Register.TOTAL,)), moment(1, 20), {Register.TOTAL: 1}),
    InstallMeter(MeterModel("2", 5, (Register.TOTAL,), NUL), moment(1, 20), {Register.TOTAL: 1}),
    InstallMeter(METER, moment(1, 20), {Register.TOTAL: 1}, NUL),
    RemoveMeter(moment(1, 20), {Register.TOTAL: 200}, "\ud800"),
    ReportMeterFailure(moment(1, 20), FailureCause.LOST, NUL),
    TakeControlReading(moment(1, 20), {Register.TOTAL: 1}, NUL),
    RecordAccessRefusal(moment(1, 20), NUL),
    ConfirmReading(EntryNumber(2), moment(1, 20), Role.OPERATOR, {NUL: NUL}, note=NUL),
    RejectReading(EntryNumber(2), moment(1, 20), NUL),
    CloseAccount(moment(1, 20), NUL),
    ClosePeriod(Period("2024\x00"), moment(1, 20)),
    LinkChannel(Channel.SMS, NUL, moment(1, 20)),
    UnlinkChannel(Channel.SMS, "ab", moment(1, 20), NUL),
]


async def test_texts_that_cannot_be_stored_are_parked_and_never_stop_their_neighbours(
    pool: asyncpg.Pool, intake: Intake, caplog: pytest.LogCaptureFixture
) -> None:
    await intake.handle(open_household("1000000"))
    sent: list[Message] = []
    for n, command in enumerate(POISON):
        raw = f"raw {n} \x00 \ud83d"
        sent += [message("1000000", command, f"poison {n}", raw), message("7654321", command, f"poison too {n}", raw)]
        sent.append(reading("1000000", f"good {n}", 100 + n))

    with caplog.at_level(logging.CRITICAL, "bels.intake"):
        outcomes = await intake.handle(sent)
        alone = [await intake.submit(m) for m in sent]

    by_id = {m.message_id: o for m, o in zip(sent, outcomes, strict=True)}
    assert {i: o.status for i, o in by_id.items() if i.startswith("good")} == dict.fromkeys(
        (f"good {n}" for n in range(len(POISON))), Status.ACCEPTED
    )
    assert {i: o.status for i, o in by_id.items() if i.startswith("poison")} == dict.fromkeys(
        (f"poison{too} {n}" for n in range(len(POISON)) for too in ("", " too")), Status.PARKED
    )
    assert alone == [replace(o, repeated=True) for o in outcomes]
    async with pool.acquire() as db:
        parked = {m.message_id: m.raw for m in await find_parked(db, None, 1_000)}
    assert len(parked) == 2 * len(POISON)
    assert parked["poison 3"] == "raw 3 \\x00 \\ud83d"
    await audit(pool, outcomes)


async def test_an_odd_sender_or_raw_text_is_stored_escaped_with_a_good_command(
    pool: asyncpg.Pool, intake: Intake
) -> None:
    await intake.handle(open_household("1000000"))
    good = reading("1000000", "sms 1", 185)

    outcome = await intake.submit(replace(good, actor="phone\x00\ud83d", raw="\x00" * 100_000, account="1000000"))
    nobody = await intake.submit(replace(good, message_id="sms 2", account="1000000\x00"))

    assert outcome.status is Status.ACCEPTED
    assert await pool.fetchval("SELECT actor FROM reading WHERE kind = 'SENT'") == "phone\\x00\\ud83d"
    assert isinstance(nobody.events[0], ReadingRefused)
    assert nobody.events[0].reason is Reason.BAD_ACCOUNT
    await audit(pool, [outcome, nobody])


async def test_a_message_that_a_view_cannot_tell_is_parked_without_half_of_it(
    pool: asyncpg.Pool, intake: Intake, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tell = readings._tell

    def failing(batch: readings._Rows, account: Account, entry: Entry) -> None:
        if isinstance(entry.event, ReadingAccepted) and entry.event.values[Register.TOTAL] == 666:
            raise KeyError("a bug")
        tell(batch, account, entry)

    named = numbers(1_000_000, 3)
    await intake.handle([m for number in named for m in open_household(number)])
    monkeypatch.setattr(readings, "_tell", failing)
    sent = [reading(named[0], "a", 185), reading(named[1], "b", 666), reading(named[1], "c", 190)]
    with caplog.at_level(logging.CRITICAL, "bels.intake"):
        outcomes = await asyncio.gather(*(intake.submit(m) for m in [*sent, *sent]))

    assert [o.status for o in outcomes] == [Status.ACCEPTED, Status.PARKED, Status.ACCEPTED] * 2
    assert [o.receipt for o in outcomes[:3]] == [o.receipt for o in outcomes[3:]]
    assert (await intake.account(named[1])).version == 3
    await audit(pool, outcomes)


@pytest.mark.parametrize(
    ("broken", "mended"),
    [
        ("ALTER TABLE usage RENAME TO lost", "ALTER TABLE lost RENAME TO usage"),
        ("ALTER TABLE overview RENAME owners TO other", "ALTER TABLE overview RENAME other TO owners"),
        ("ALTER DATABASE {} SET default_transaction_read_only = on", "ALTER DATABASE {} RESET ALL"),
    ],
)
async def test_no_message_is_parked_for_a_fault_of_the_database(
    database: str, broken: str, mended: str, caplog: pytest.LogCaptureFixture
) -> None:
    name = database.partition("?")[0].rpartition("/")[2]
    closing = message("1000000", ClosePeriod(Period("2024-01"), over_at(Period("2024-01"))), "closing")
    mender = await asyncpg.connect(database)
    async with another_process(database) as (intake, pool):
        await intake.handle(open_household("1000000"))
        await mender.execute(broken.format(name))
        await pool.expire_connections()
        with caplog.at_level(logging.CRITICAL, "bels.intake"), pytest.raises(TryLater):
            await intake.submit(closing)
        await mender.execute(mended.format(name))
        await pool.expire_connections()

        outcome = await intake.submit(closing)

        assert not outcome.repeated
        assert any(isinstance(event, PeriodClosed) for event in outcome.events)
        await audit(pool, [outcome])
    await mender.close()


# Waiting, leaving, stopping --------------------------------------------------------------------------------------


async def test_a_sender_who_meets_a_full_queue_is_asked_to_try_later(
    pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake_module, "WAITING_MAX", 3)
    intake = Intake(pool, DEFAULT_RULEBOOK, lanes=1)
    waiting = [asyncio.create_task(intake.submit(reading("7654321", str(n), n))) for n in range(3)]
    await asyncio.sleep(0)

    with pytest.raises(TryLater, match="too many"):
        await intake.submit(reading("7654321", "late", 4))
    async with intake.running():
        outcomes = await asyncio.gather(*waiting)
        late = await intake.submit(reading("7654321", "late", 4))

    assert not late.repeated
    await audit(pool, [*outcomes, late])


async def test_what_is_handed_in_together_is_one_transaction_beside_that_of_others(
    pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake_module, "BATCH_MAX", 3)
    intake = Intake(pool, DEFAULT_RULEBOOK, lanes=1)
    await intake.handle(open_household("1000000"))
    alone = [asyncio.create_task(intake.submit(reading("1000000", f"sms {n}", 200 + n))) for n in range(2)]
    pair = [reading("1000000", f"both {n}", 300 + n) for n in range(2)]
    together = asyncio.create_task(intake.submit_together(pair))
    await asyncio.sleep(0)
    batches: list[int] = []
    work = intake.work

    async def counted(messages: Sequence[Message]) -> Sequence[Outcome | Exception]:
        batches.append(len(messages))
        return await work(messages)

    intake.work = counted
    async with intake.running():
        outcomes = [*await asyncio.gather(*alone), *await together]

    # Three would fit in a batch, but the pair stays together.
    assert batches == [2, 2]
    assert [o.account for o in outcomes] == ["1000000"] * 4
    await audit(pool, outcomes)


async def test_a_sender_who_leaves_takes_nobodys_outcome_along(pool: asyncpg.Pool, intake: Intake) -> None:
    await intake.handle(open_household("1000000"))
    sent = [reading("1000000", f"sms {n}", 100 + n) for n in range(60)]
    tasks = [asyncio.create_task(intake.submit(m)) for m in sent]
    await asyncio.sleep(0)
    for n, task in enumerate(tasks):
        if n % 3 == 0:
            task.cancel()
    await asyncio.sleep(0.002)
    for n, task in enumerate(tasks):
        if n % 3 == 1:
            task.cancel()

    results = await asyncio.gather(*tasks, return_exceptions=True)
    again = await asyncio.gather(*(intake.submit(m) for m in sent))

    assert all(isinstance(results[n], Outcome) for n in range(60) if n % 3 == 2)
    for first, second in zip(results, again, strict=True):
        if isinstance(first, Outcome):
            assert second == replace(first, repeated=True)
    await audit(pool, again)
    assert await pool.fetchval("SELECT count(*) FROM message WHERE channel = 'sms'") == 60


async def test_a_batch_that_is_broken_off_is_there_whole_or_not_at_all(pool: asyncpg.Pool, intake: Intake) -> None:
    named = numbers(1_000_000, 20)
    await intake.handle([m for number in named for m in open_household(number)])
    batches = [[reading(number, f"{n} {number}", 100 + n) for number in named] for n in range(15)]

    for n, batch in enumerate(batches):
        task = asyncio.create_task(intake.handle(batch))
        await asyncio.sleep(n * 0.001)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        stored = await pool.fetchval("SELECT count(*) FROM message WHERE message_id LIKE $1", f"{n} %")
        assert stored in (0, len(named))
        await audit(pool)

    again = [o for batch in batches for o in await intake.handle(batch)]
    await audit(pool, again)
    assert await pool.fetchval("SELECT count(*) FROM message WHERE channel = 'sms'") == 15 * len(named)


async def test_an_intake_that_stops_tells_everybody_who_waits(pool: asyncpg.Pool) -> None:
    intake = Intake(pool, DEFAULT_RULEBOOK)
    sent = [reading("7654321", str(n), n) for n in range(50)]
    async with intake.running():
        tasks = [asyncio.create_task(intake.submit(m)) for m in sent]
        await asyncio.sleep(0.001)
    results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)

    with pytest.raises(TryLater):
        await asyncio.wait_for(intake.submit(reading("7654321", "late", 1)), 5)
    async with intake.running():
        again = await asyncio.gather(*(intake.submit(m) for m in sent))

    for first, second in zip(results, again, strict=True):
        assert isinstance(first, TryLater) or replace(first, repeated=True) == second  # type: ignore[type-var]
    await audit(pool, again)


# Preview ---------------------------------------------------------------------------------------------------------


async def test_a_preview_stores_nothing_and_says_what_happens_afterwards(pool: asyncpg.Pool, intake: Intake) -> None:
    await intake.handle([*open_household("1000000"), reading("1000000", "sms 1", 150)])
    february, may = Period("2024-02"), moment(5, 20)
    command = SubmitReading(may, {"total": "600"})
    books = [await pool.fetch("SELECT * FROM journal"), await pool.fetch("SELECT * FROM message"), await views(pool)]

    preview = await intake.preview("1000000", command)

    assert books == [
        await pool.fetch("SELECT * FROM journal"),
        await pool.fetch("SELECT * FROM message"),
        await views(pool),
    ]
    outcome = await intake.submit(message("1000000", command, "reading"))
    closings: list[Event] = []
    for period in ("2024-01", february, "2024-03", "2024-04", "2024-05"):
        closing = ClosePeriod(Period(period), over_at(Period(period)))
        closings += (await intake.submit(message("1000000", closing, f"closing {period}"))).events
    assert preview.events == outcome.events
    assert preview.closings == tuple(closings)
    assert sum(isinstance(e, PeriodClosed) for e in preview.closings) == 5
    assert preview.before.version == 3
    assert preview.after.version == 3 + len(preview.events)


async def test_a_preview_of_a_refusal_closes_nothing(pool: asyncpg.Pool, intake: Intake) -> None:
    await intake.handle(open_household("1000000"))

    refused = await intake.preview("1000000", SubmitReading(moment(1, 20), {"total": "много"}))
    unknown = await intake.preview("7654321", SubmitReading(moment(1, 20), {"total": "1"}))

    assert isinstance(refused.events[0], ReadingRefused)
    assert isinstance(unknown.events[0], ReadingRefused)
    assert (refused.closings, unknown.closings) == ((), ())
    assert await audit(pool) == 2


# PostgreSQL goes away --------------------------------------------------------------------------------------------


class Senders:
    """Eight senders who send message after message, and remember which were acknowledged and which were not."""

    def __init__(self, intake: Intake) -> None:
        self.intake = intake
        self.acknowledged: list[tuple[Message, Outcome]] = []
        self.unsure: list[Message] = []
        self.is_done = False
        self.answered = asyncio.Semaphore(0)

    async def send(self, sender: int) -> None:
        n = 0
        while not self.is_done:
            n += 1
            # Two senders share an account, and no two readings of it say the same: a repeat would have the first's receipt.
            sent = reading(str(1_000_000 + sender % 4), f"{sender} {n}", 100 + (2 * n + sender // 4) % 3_000)
            try:
                self.acknowledged.append((sent, await self.intake.submit(sent)))
                self.answered.release()
            except TryLater:
                self.unsure.append(sent)
                await asyncio.sleep(0.02)

    async def during(self, disturbance: Callable[[], Awaitable[None]]) -> None:
        sending = [asyncio.create_task(self.send(n)) for n in range(8)]
        try:
            await disturbance()
            self.answered = asyncio.Semaphore(0)
            for _ in range(40):
                await self.answered.acquire()
        finally:
            self.is_done = True
            await asyncio.gather(*sending)

    async def check(self, pool: asyncpg.Pool) -> None:
        """Send everything again: what was acknowledged is there as it was, the rest is booked now or was booked once."""
        again = await self.intake.handle([m for m, _ in self.acknowledged])
        assert again == [replace(outcome, repeated=True) for _, outcome in self.acknowledged]
        resent = await self.intake.handle(self.unsure)
        assert len({o.receipt for o in [*again, *resent]}) == len(again) + len(resent)
        await audit(pool, [*again, *resent])
        in_journal = await pool.fetchval("SELECT count(*) FROM message WHERE channel = 'sms'")
        assert in_journal == len(self.acknowledged) + len(self.unsure)
        assert await pool.fetchval("SELECT count(*) FROM message WHERE status = 'PARKED'") == 0


async def test_connections_that_are_cut_in_mid_load_lose_and_double_nothing(
    pool: asyncpg.Pool, intake: Intake, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    await intake.handle([m for number in numbers(1_000_000, 4) for m in open_household(number)])
    senders = Senders(intake)

    async def cut() -> None:
        db = await asyncpg.connect(database)
        for _ in range(25):
            await asyncio.sleep(0.02)
            await db.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        await db.close()

    with caplog.at_level(logging.CRITICAL):
        await senders.during(cut)

    assert senders.unsure
    await senders.check(pool)


@pytest.fixture
def own_server() -> Iterator[tuple[Path, str]]:
    """Run a PostgreSQL that may be killed without harm to other tests."""
    folder = Path(tempfile.mkdtemp(prefix="bels-test-"))
    folder.chmod(0o755)
    try:
        with embedded(folder) as url:
            yield folder, url
    finally:
        shutil.rmtree(folder)


async def test_a_postgresql_restarted_in_mid_load_loses_and_doubles_nothing(
    own_server: tuple[Path, str], caplog: pytest.LogCaptureFixture
) -> None:
    folder, url = own_server

    async def restart() -> None:
        # What ``pg_ctl restart -m immediate`` does: SIGQUIT, no checkpoint, recovery from the log.
        for _ in range(2):
            await asyncio.sleep(0.3)
            pid = postmaster_pid(folder)
            assert pid is not None
            os.kill(pid, signal.SIGQUIT)
            await asyncio.sleep(0.1)
            await asyncio.to_thread(ensure_running, folder)

    db = await asyncpg.connect(url)
    await install(db)
    await install_views(db)
    await db.close()
    async with another_process(url) as (intake, pool):
        await intake.handle([m for number in numbers(1_000_000, 4) for m in open_household(number)])
        senders = Senders(intake)
        with caplog.at_level(logging.CRITICAL):
            await senders.during(restart)

        assert senders.unsure
        await senders.check(pool)
        async with pool.acquire() as connection:
            assert await find_messages(connection, [("sms", "0 1")])
