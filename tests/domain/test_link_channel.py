"""A sender speaks for an account from its link to its end."""

from __future__ import annotations

from bels.domain.commands import LinkChannel, UnlinkChannel
from bels.domain.events import ChannelLinked, ChannelUnlinked
from bels.domain.terms import Channel
from tests.domain.trade import INSTALLED, OPENED, ORDINARY, day, done, given, when

DIGEST = "0123456789abcdef" * 2
LINK = LinkChannel(Channel.SMS, DIGEST, day("2024-02-10"))


def test_a_phone_is_linked() -> None:
    assert when(given(OPENED, INSTALLED), LINK) == (ChannelLinked(Channel.SMS, DIGEST, day("2024-02-10")),)


def test_a_linked_phone_is_unlinked_and_may_be_linked_again() -> None:
    account = done(*ORDINARY, LINK)
    gone = UnlinkChannel(Channel.SMS, DIGEST, day("2024-02-11"), "moved")

    assert when(account, gone) == (ChannelUnlinked(Channel.SMS, DIGEST, day("2024-02-11"), "moved"),)
    again = done(*ORDINARY, LINK, gone, LINK)
    assert [link.sender for link in again.links] == [DIGEST]
