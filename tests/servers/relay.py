"""A TCP relay in front of a server: what cuts connections that the server itself would keep."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from tests.servers.processes import free_port

T = TypeVar("T")


class Relay:
    """Forwards a loopback port to another, on a thread of its own.

    Args:
        target: the port of the server.
    """

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._clients: set[asyncio.StreamWriter] = set()

    @contextmanager
    def running(self) -> Iterator["Relay"]:
        """Forward, and stop at the end."""
        thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        thread.start()
        server = self._call(asyncio.start_server(self._serve, "127.0.0.1", self.port))
        try:
            yield self
        finally:
            self._loop.call_soon_threadsafe(server.close)
            self.drop()
            self._call(self._settle())
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join()
            self._loop.close()

    def drop(self) -> int:
        """Cut all connections; return how many there were."""
        return self._call(self._drop())

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _drop(self) -> int:
        dropped = list(self._clients)
        for client in dropped:
            client.transport.abort()
        return len(dropped)

    async def _settle(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.add(writer)
        try:
            upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", self._target)
            try:
                ways = [
                    asyncio.ensure_future(_pump(reader, upstream)),
                    asyncio.ensure_future(_pump(upstream_reader, writer)),
                ]
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                for way in ways:
                    way.cancel()
            finally:
                upstream.transport.abort()
        except OSError:
            pass  # the server is away, and so is the connection
        finally:
            self._clients.discard(writer)
            writer.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
