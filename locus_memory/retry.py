"""Retrying inside a deadline."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from locus_memory.errors import AuthenticationError, BackendUnavailableError, BindingError, CheckpointError

T = TypeVar("T")

_LOG = logging.getLogger(__name__)


class Refreshable(Protocol):
    """Connection parameters that may change; `locus_memory.storage.StorageBackend` has them."""

    @property
    def connection_version(self) -> int:
        """How often they have changed."""

    async def refresh(self) -> None:
        """Read them again."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long a call may take, and how it is repeated while the backend is away.

    The pause before attempt n is random between 0 and `min(max_delay, base_delay * 2**n)` ("full jitter",
    Amazon Builders' Library, "Timeouts, retries, and backoff with jitter").

    Attributes:
        deadline: Seconds from the call to its result or error, all attempts together; above 0.
        base_delay: Seconds, upper bound of the first pause.
        max_delay: Seconds, upper bound of any pause.
    """

    deadline: float = 10.0
    base_delay: float = 0.05
    max_delay: float = 1.0

    async def run(
        self,
        attempt: Callable[[int], Awaitable[T]],
        connection: Refreshable,
        description: str,
    ) -> T:
        """Call `attempt(number)` until it succeeds, fails for good, or the deadline passes.

        Args:
            attempt: One try; gets 0, 1, 2, …
            connection: Read again after each failure; a rejected login is worth another try only when it has
                changed since the attempt began, whoever noticed.
            description: What is being done, for the message of the timeout.

        Raises:
            BackendUnavailableError: Nothing worked until the deadline; the last error is its cause.
        """
        last: CheckpointError | None = None
        number = 0
        try:
            async with asyncio.timeout(self.deadline):
                while True:
                    version = connection.connection_version
                    try:
                        return await attempt(number)
                    except AuthenticationError:
                        await _refresh(connection)
                        if connection.connection_version == version:
                            raise
                    except CheckpointError as error:
                        if not error.retryable:
                            raise
                        last = error
                        await _refresh(connection)
                    pause = min(self.max_delay, self.base_delay * 2 ** min(number, 16))
                    await asyncio.sleep(random.uniform(0, pause))  # noqa: S311 - jitter, no secret
                    number += 1
        except TimeoutError as timeout:
            reason = f": {last}" if last else ""
            raise BackendUnavailableError(
                f"{description}: the backend gave no answer within {self.deadline:g} s{reason}"
            ) from (last or timeout)


async def _refresh(connection: Refreshable) -> None:
    try:
        await connection.refresh()
    except BindingError as error:
        # The call failed for another reason, which is what the caller has to hear.
        _LOG.warning("the binding cannot be read again: %s", error)
