"""The served store: one attempt for each request, within the time that a request may take."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from pydantic import JsonValue

from locus_memory.adapter import StorageBackendAdapter
from locus_memory.codec import StateCodec
from locus_memory.errors import (
    AuthenticationError,
    BackendUnavailableError,
    CheckpointError,
    CorruptCheckpointError,
)
from locus_memory.retry import RetryPolicy
from locus_memory.storage import StorageBackend
from locus_memory.text import searchable_text

T = TypeVar("T")

_PROBE_THREAD = "locus-memory serve: is the backend there?"
_PROBE_TIMEOUT_SECONDS = 3.0
_PROBE_EVERY_SECONDS = 1.0


class ServedStore:
    """What the routes need of a checkpointer.

    Args:
        checkpointer: The store.
        timeout: Seconds for one operation.
    """

    def __init__(self, checkpointer: StorageBackendAdapter, timeout: float) -> None:
        self.checkpointer = checkpointer
        self._timeout = timeout
        self._retry = RetryPolicy(deadline=timeout)
        self._probe: asyncio.Task[bool] | None = None
        self._probed_at = 0.0

    @property
    def storage(self) -> StorageBackend:
        """The backend."""
        return self.checkpointer.storage

    @property
    def codec(self) -> StateCodec:
        """How states become payloads."""
        return self.checkpointer.codec

    async def run(self, operation: Callable[[], Awaitable[T]]) -> T:
        """Carry an operation out.

        It is not repeated after an outage: the client does that, and only the client knows that a conflict may be its
        own earlier attempt. A rejected login is worth one more attempt if it was replaced meanwhile: nothing was done.

        Raises:
            BackendUnavailableError: No result in time.
        """
        try:
            async with asyncio.timeout(self._timeout):
                version = self.storage.connection_version
                try:
                    return await operation()
                except AuthenticationError:
                    await self.storage.refresh()
                    if self.storage.connection_version == version:
                        raise
                    return await operation()
                except BackendUnavailableError:
                    await self.storage.refresh()
                    raise
        except TimeoutError as error:
            raise BackendUnavailableError(f"the backend gave no answer within {self._timeout:g} s") from error

    async def retry(self, operation: Callable[[], Awaitable[T]]) -> T:
        """Carry out what only reads, and repeat it while the backend is away: for clients that would not."""
        return await self._retry.run(lambda _: operation(), self.storage, "request")

    async def state_of(self, payload: bytes) -> JsonValue:
        """Return the state in a payload, as JSON."""
        return await self.codec.envelope.read(self.codec.decode_json, payload)

    def text_of(self, payload: bytes) -> str:
        """Return the searchable text of a payload."""
        return searchable_text(self.codec.decode_json(payload))

    def text_or_nothing(self, payload: bytes) -> str:
        """Like `text_of`, for payloads of whatever origin: what cannot be read is not searchable."""
        try:
            return self.text_of(payload)
        except CorruptCheckpointError:
            return ""

    async def is_reachable(self) -> bool:
        """Tell whether the backend answers. Asked at most once a second, however many want to know."""
        if self._probe is None or (self._probe.done() and time.monotonic() - self._probed_at > _PROBE_EVERY_SECONDS):
            self._probe = asyncio.ensure_future(self._reach())
        # Whoever asks may go away; the others wait on.
        return await asyncio.shield(self._probe)

    async def _reach(self) -> bool:
        try:
            async with asyncio.timeout(_PROBE_TIMEOUT_SECONDS):
                await self.run(lambda: self.storage.get_summary(_PROBE_THREAD))
        except (CheckpointError, TimeoutError):
            return False
        else:
            return True
        finally:
            self._probed_at = time.monotonic()
