"""FastAGI on the wire: variables, commands, replies, and every way in which a call ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from bels.channels.fastagi import LINE_BYTES_MAX, VARIABLES_MAX, Agi, AgiError, HungUp, Result, quoted

Ours = Callable[[Agi], Awaitable[Result]]


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Agi, asyncio.StreamReader, asyncio.StreamWriter]]:
    """Connect both sides over a socket: ours, and what Asterisk reads and writes."""
    accepted: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    server = await asyncio.start_server(
        lambda *streams: accepted.put_nowait(streams), "127.0.0.1", 0, limit=LINE_BYTES_MAX
    )
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        ours = await accepted.get()
        try:
            yield Agi(*ours), reader, writer
        finally:
            for each in (writer, ours[1]):
                each.close()


async def asked(replies: bytes, *words: str, wait_s: float = 5.0, is_closed: bool = False) -> tuple[str, Result]:
    """Ask, while Asterisk answers so; give what it has read, too."""
    async with connected() as (agi, reader, writer):
        writer.write(replies)
        if is_closed:
            writer.close()
        result = await agi.ask(*(words or ("GET", "DATA", "", "3000", "7")), wait_s=wait_s)
        return (await reader.readline()).decode(), result


async def accepted(told: bytes, *, is_closed: bool = False) -> Agi:
    """Accept a connection whose other side sends so much."""
    async with connected() as (agi, _, writer):
        writer.write(told)
        if is_closed:
            writer.close()
        return await Agi.accepted(agi._reader, agi._writer)


async def test_the_variables_of_a_call_are_read_to_the_empty_line() -> None:
    agi = await accepted(b"agi_network: yes\nagi_callerid: 79161234567\nagi_calleridname: a: b\nagi_arg_1:\n\n")

    assert agi.variables == {"network": "yes", "callerid": "79161234567", "calleridname": "a: b", "arg_1": ""}


@pytest.mark.parametrize(
    "told",
    [
        b"GET / HTTP/1.1\r\nHost: bels\r\n\r\n",
        b"agi_network\n\n",
        b"agi_x: 1\n" * (VARIABLES_MAX + 1) + b"\n",
        b"agi_x: " + b"1" * LINE_BYTES_MAX + b"\n\n",
    ],
    ids=["a browser", "no value", "too many", "a long line"],
)
async def test_what_is_no_asterisk_is_dropped(told: bytes) -> None:
    with pytest.raises(AgiError):
        await accepted(told)


async def test_a_connection_that_ends_at_once_is_a_call_that_ended() -> None:
    with pytest.raises(HungUp):
        await accepted(b"agi_network: yes\n", is_closed=True)


@pytest.mark.parametrize(
    ("reply", "result"),
    [
        ("200 result=1000000", Result("1000000", "")),
        ("200 result=4321 (timeout)", Result("4321", "timeout")),
        ("200 result= (timeout)", Result("", "timeout")),
        ("200 result=", Result("", "")),
        ("200 result=*12", Result("*12", "")),
        ("200 result=49 endpos=8000", Result("49", "")),
        ("200 result=1 (a (b) c)", Result("1", "a (b) c")),
        ("200 result=-1", Result("-1", "")),
    ],
)
async def test_a_reply_has_a_value_and_a_note(reply: str, result: Result) -> None:
    assert (await asked(f"{reply}\n".encode()))[1] == result


async def test_a_bare_hangup_comes_before_the_reply_and_ends_the_call_quietly() -> None:
    with pytest.raises(HungUp):
        await asked(b"HANGUP\n200 result=0\n")
    with pytest.raises(HungUp):
        await asked(b"HANGUP\n", wait_s=0.1)
    with pytest.raises(HungUp):
        await asked(b"HANGUP\n", is_closed=True)


async def test_a_command_on_a_dead_channel_ends_the_call() -> None:
    with pytest.raises(HungUp):
        await asked(b"511 Command Not Permitted on a dead channel or intercept routine\n")


@pytest.mark.parametrize(
    "reply",
    [
        b"510 Invalid or unknown command\n",
        b"520-Invalid command syntax.  Proper usage follows:\n Usage: GET DATA <file>\n\n\tplays it\n520 End of proper usage.\n",
        b"220 welcome\n",
        b"hello\n",
        b"200 what=1\n",
        b"2" * (LINE_BYTES_MAX + 10) + b"\n",
    ],
    ids=["unknown", "usage", "mail", "words", "no result", "a long line"],
)
async def test_what_is_not_understood_is_an_error_and_no_hang_up(reply: bytes) -> None:
    with pytest.raises(AgiError):
        await asked(reply)


async def test_usage_of_several_lines_is_read_whole_and_the_next_reply_is_the_next_commands() -> None:
    async with connected() as (agi, _, writer):
        writer.write(
            b"520-Invalid command syntax.  Proper usage follows:\nUsage\n520 End of proper usage.\n200 result=7\n"
        )
        with pytest.raises(AgiError):
            await agi.ask("GET")
        assert await agi.ask("ANSWER") == Result("7", "")


async def test_a_reply_that_never_comes_is_not_waited_for() -> None:
    with pytest.raises(AgiError, match="no reply to STREAM"):
        await asked(b"", "STREAM", "FILE", "x", "", wait_s=0.05)


async def test_words_are_quoted_and_no_word_begins_another_command() -> None:
    sent, _ = await asked(b"200 result=1\n", "SET", "VARIABLE", "BELS_NEXT", 'a "quoted" \\ word')
    assert sent == 'SET VARIABLE BELS_NEXT "a \\"quoted\\" \\\\ word"\n'
    assert quoted("") == '""'

    for line_end in ("a\nHANGUP", "a\rb", "a\0"):
        with pytest.raises(ValueError, match="another"):
            await asked(b"200 result=1\n", "SET", "VARIABLE", "BELS_NEXT", line_end)
