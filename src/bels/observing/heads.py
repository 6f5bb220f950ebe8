"""HTTP whose heads have an end: the request line and the headers of a request are so long at most, and come within some time.

uvicorn keeps whatever stands before the body for as long as it goes on coming, from whoever connects.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_MAX = 64 * 1024
"""Bytes of a request line and its headers; the last chunk that was read may pass it."""
HEAD_WAIT_S = 20.0

_BODY = (
    b'{"errors":[{"message":"The headers may have %d bytes.","extensions":{"code":"HEADERS_TOO_LARGE"}}]}' % HEAD_MAX
)
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/json; charset=utf-8\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%s" % (len(_BODY), _BODY)
)


class LimitedHeads(HttpToolsProtocol):
    """uvicorn's protocol, which closes a connection whose head has no end."""

    _in_head = True
    _heads = 0
    _head = 0
    _since: float | None = None
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Wait for the first head."""
        super().connection_made(transport)
        self._since = self.loop.time()
        self._look_later()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop_looking()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self) -> None:
        """Give the connection to another protocol, which has limits of its own."""
        self._stop_looking()
        super().handle_websocket_upgrade()

    def data_received(self, data: bytes) -> None:
        """Read on, but not for ever in a head."""
        was_in_head, heads = self._in_head, self._heads
        if was_in_head and self._since is None:
            self._since = self.loop.time()
        super().data_received(data)
        # A whole request may come in one piece: then it was no head without an end.
        if was_in_head and heads == self._heads:
            self._head += len(data)
            if self._head > HEAD_MAX and not self.transport.is_closing():
                self.transport.write(_TOO_LARGE)
                self.transport.close()

    def on_headers_complete(self) -> None:
        """Note that the head is over."""
        self._in_head, self._head, self._since = False, 0, None
        self._heads += 1
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note that another head may come."""
        self._in_head = True
        super().on_message_complete()

    def _look_later(self) -> None:
        self._timer = self.loop.call_later(HEAD_WAIT_S, self._look)

    def _look(self) -> None:
        if self._since is not None and self.loop.time() - self._since >= HEAD_WAIT_S:
            self.transport.close()
        else:
            self._look_later()

    def _stop_looking(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
