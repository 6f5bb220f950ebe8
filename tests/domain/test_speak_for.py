"""Anybody may bring a household's reading; only who speaks for the account changes one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bels.domain.account import Account
from bels.domain.commands import Claim, ConfirmReading, LinkChannel, SubmitReading, UnlinkChannel
from bels.domain.events import CommandRefused, Event, ReadingAccepted, ReadingConfirmed, ReadingHeld
from bels.domain.speak_for import SAME_ADDRESS, speaks_for
from bels.domain.terms import Channel, EntryNumber, HoldReason, Reason, Role
from tests.domain.trade import ORDINARY, closings, day, done, sent, when

PHONE = "0123456789abcdef" * 2
STRANGER = "fedcba9876543210" * 2
LINK = LinkChannel(Channel.SMS, PHONE, day("2024-01-02"))
BY_PHONE = Claim(Channel.SMS, PHONE)
BY_STRANGER = Claim(Channel.SMS, STRANGER)
NOBODY = Claim(Channel.WEB)


def said(on: str, kwh: int, claim: Claim | None, hour: int = 13) -> SubmitReading:
    """Send a reading as somebody."""
    return SubmitReading(day(on, hour), {"total": str(kwh)}, claim=claim)


def held_for(events: tuple[Event, ...]) -> HoldReason | None:
    """Say why a reading is held, None where it was accepted."""
    event = events[0]
    assert isinstance(event, ReadingAccepted | ReadingHeld)
    return event.reason if isinstance(event, ReadingHeld) else None


def household() -> Account:
    """Give an account with a linked phone, and a reading of January."""
    return done(*ORDINARY, LINK, sent("2024-01-20", 10_100))


@pytest.mark.parametrize("claim", [BY_STRANGER, NOBODY, Claim(Channel.TELEGRAM, STRANGER)])
def test_a_stranger_may_bring_the_first_reading_of_a_period(claim: Claim) -> None:
    assert held_for(when(done(*ORDINARY, LINK), said("2024-01-20", 10_100, claim))) is None


@pytest.mark.parametrize("claim", [BY_STRANGER, NOBODY])
def test_a_strangers_correction_is_held_until_somebody_confirms_it(claim: Claim) -> None:
    assert held_for(when(household(), said("2024-01-21", 10_150, claim))) is HoldReason.UNCONFIRMED_SENDER


@pytest.mark.parametrize("claim", [None, BY_PHONE, Claim(Channel.VOICE, PHONE)])
def test_the_household_corrects_itself_by_its_cabinet_and_its_linked_phone(claim: Claim | None) -> None:
    assert held_for(when(household(), said("2024-01-21", 10_150, claim))) is None


def test_a_stranger_who_says_the_same_on_another_day_changes_nothing() -> None:
    assert held_for(when(household(), said("2024-01-21", 10_100, BY_STRANGER))) is None


def test_a_stranger_may_bring_the_next_periods_reading() -> None:
    account = done(*ORDINARY, LINK, sent("2024-01-20", 10_100), *closings("2024-01"))

    assert held_for(when(account, said("2024-02-20", 10_200, BY_STRANGER))) is None


def test_a_row_of_a_stranger_that_comes_late_is_held_against_the_reading_of_its_own_period() -> None:
    account = done(*ORDINARY, LINK, sent("2024-01-20", 10_100), *closings("2024-01"), sent("2024-02-20", 10_200))

    assert held_for(when(account, said("2024-01-19", 10_090, BY_STRANGER))) is HoldReason.UNCONFIRMED_SENDER


def test_of_a_letter_that_nobody_vouches_for_every_reading_is_held() -> None:
    account = done(*ORDINARY, LinkChannel(Channel.EMAIL, PHONE, day("2024-01-02")))
    letter = Claim(Channel.EMAIL, PHONE, proven=False)

    assert held_for(when(account, said("2024-01-20", 10_100, letter))) is HoldReason.UNCONFIRMED_SENDER
    assert held_for(when(account, said("2024-01-20", 10_100, replace(letter, proven=True)))) is None


def test_what_is_wrong_with_a_reading_is_said_before_who_sent_it() -> None:
    assert held_for(when(household(), said("2024-01-21", 9_000, BY_STRANGER))) is HoldReason.LESS_THAN_PREVIOUS
    assert held_for(when(household(), said("2024-01-21", 90_000, BY_STRANGER))) is HoldReason.IMPLAUSIBLE


@pytest.mark.parametrize(
    ("before", "claim", "confirmed"),
    [
        ((LINK,), BY_STRANGER, False),
        ((LINK,), NOBODY, False),
        ((LINK,), BY_PHONE, True),
        ((LINK,), None, True),
        ((), BY_STRANGER, True),
    ],
)
def test_where_the_household_is_known_a_stranger_does_not_say_that_an_implausible_reading_is_right(
    before: tuple[LinkChannel, ...], claim: Claim | None, confirmed: bool
) -> None:
    account = done(*ORDINARY, *before, said("2024-01-20", 90_000, BY_STRANGER))
    held = EntryNumber(account.version)

    event = when(account, ConfirmReading(held, day("2024-01-21"), Role.CONSUMER, claim=claim))[0]

    assert isinstance(event, ReadingConfirmed) is confirmed


def test_a_phone_speaks_from_its_link_to_its_end() -> None:
    gone = UnlinkChannel(Channel.SMS, PHONE, day("2024-01-21"), "номер продан")

    assert not speaks_for(done(*ORDINARY), BY_PHONE)
    assert speaks_for(household(), BY_PHONE)
    assert not speaks_for(done(*ORDINARY, LINK, gone), BY_PHONE)


@pytest.mark.parametrize("channel", list(Channel))
def test_a_linked_phone_is_the_same_phone_on_the_voice_menu_and_nowhere_else(channel: Channel) -> None:
    assert speaks_for(household(), Claim(channel, PHONE)) is (channel in SAME_ADDRESS[Channel.SMS])


def test_who_has_a_credential_of_his_own_makes_no_claim() -> None:
    assert speaks_for(done(*ORDINARY), None)


def test_nobody_is_not_a_sender_that_could_be_linked() -> None:
    assert not speaks_for(household(), Claim(Channel.SMS))


@pytest.mark.parametrize(
    ("claim", "role", "confirmed"),
    [
        (BY_STRANGER, Role.CONSUMER, False),
        (NOBODY, Role.CONSUMER, False),
        (BY_PHONE, Role.CONSUMER, True),
        (None, Role.CONSUMER, True),
        (None, Role.OPERATOR, True),
    ],
)
def test_a_strangers_correction_is_confirmed_by_who_speaks_for_the_account(
    claim: Claim | None, role: Role, confirmed: bool
) -> None:
    account = done(*ORDINARY, LINK, sent("2024-01-20", 10_100), said("2024-01-21", 10_150, BY_STRANGER))

    event = when(account, ConfirmReading(EntryNumber(5), day("2024-01-22"), role, claim=claim))[0]

    assert isinstance(event, ReadingConfirmed) is confirmed
    if isinstance(event, CommandRefused):
        assert event.reason is Reason.UNCONFIRMED_SENDER
