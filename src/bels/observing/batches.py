"""Observing the intake: whoever watches stands around the handling of a batch and sees what came and what became of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from bels.messages import Message, Outcome

Handle = Callable[[Sequence[Message]], Awaitable[Sequence[Outcome | Exception]]]
"""What handles a batch of messages; a failure stands in place of an outcome."""

Around = Callable[[Sequence[Message], Handle], Awaitable[Sequence[Outcome | Exception]]]
"""What handles a batch by ``handle`` and watches it."""


def within(around: Around, handle: Handle) -> Handle:
    """Put a watcher around what handles batches."""

    async def handled(messages: Sequence[Message]) -> Sequence[Outcome | Exception]:
        return await around(messages, handle)

    return handled
