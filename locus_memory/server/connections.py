"""Connections of uvicorn that wait for no client for ever."""

from __future__ import annotations

import asyncio
from typing import Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from locus_memory.server.settings import Limits

_GOODBYE_SECONDS: Final = 0.5


def protocol(limits: Limits) -> type[H11Protocol]:
    """Make the protocol class that cuts off who sends the head of a request too slowly, or does not read the answer.

    uvicorn limits how long a connection may be idle between requests, but not before the first one, nor how slowly
    a head may come, nor how long an answer may lie unread; a thousand such connections would keep everybody else out
    ("slow loris"). Slow bodies are the gate's.
    """

    class Protocol(H11Protocol):
        _waiting: asyncio.TimerHandle | None = None
        _unread: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)  # type: ignore[arg-type]
            self._watch_head()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch_head()

        def shutdown(self) -> None:
            super().shutdown()
            if self.transport.is_closing() and not self.transport.get_write_buffer_size():
                # Clients do not read idle connections: asyncio would wait half a minute for their end of TLS.
                self.loop.call_later(_GOODBYE_SECONDS, self.transport.abort)

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_watching()
            self.resume_writing()
            super().connection_lost(exc)

        def pause_writing(self) -> None:
            super().pause_writing()
            self._unread = self.loop.call_later(limits.transfer_timeout, self.transport.abort)

        def resume_writing(self) -> None:
            if self._unread is not None:
                self._unread.cancel()
            super().resume_writing()

        def _watch_head(self) -> None:
            if self.conn.their_state is not h11.IDLE or self.timeout_keep_alive_task is not None:
                self._stop_watching()
            elif self._waiting is None:
                self._waiting = self.loop.call_later(limits.head_timeout, self.transport.abort)

        def _stop_watching(self) -> None:
            if self._waiting is not None:
                self._waiting.cancel()
                self._waiting = None

    return Protocol
