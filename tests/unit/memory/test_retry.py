"""Retrying inside a deadline."""

import asyncio
import time

import pytest

from locus_memory.errors import (
    AuthenticationError,
    BackendUnavailableError,
    BindingError,
    CheckpointConflictError,
    CheckpointError,
)
from locus_memory.retry import RetryPolicy

QUICK = RetryPolicy(deadline=5, base_delay=0.001, max_delay=0.002)


class Backend:
    """Answers with the given errors, then with the number of the attempt."""

    def __init__(self, *errors: CheckpointError, changes: bool = False) -> None:
        self.errors = list(errors)
        self.changes = changes
        self.connection_version = 0
        self.attempts: list[int] = []
        self.refreshed = 0

    async def attempt(self, number: int) -> int:
        self.attempts.append(number)
        if self.errors:
            raise self.errors.pop(0)
        return number

    async def refresh(self) -> None:
        self.refreshed += 1
        self.connection_version += self.changes

    async def run(self, policy: RetryPolicy = QUICK) -> int:
        return await policy.run(self.attempt, self, "save of thread 't'")


async def test_a_success_is_returned_at_once() -> None:
    backend = Backend()
    assert await backend.run() == 0
    assert (backend.attempts, backend.refreshed) == ([0], 0)


async def test_an_outage_is_tried_again_and_the_connection_is_read_again() -> None:
    backend = Backend(BackendUnavailableError("away"), BackendUnavailableError("away"))
    assert await backend.run() == 2
    assert (backend.attempts, backend.refreshed) == ([0, 1, 2], 2)


async def test_what_is_not_retryable_is_raised_at_once() -> None:
    backend = Backend(CheckpointConflictError("conflict"))
    with pytest.raises(CheckpointConflictError, match="conflict"):
        await backend.run()
    assert backend.attempts == [0]


async def test_a_rejected_login_is_tried_again_only_when_it_has_changed() -> None:
    unchanged = Backend(AuthenticationError("rejected"))
    with pytest.raises(AuthenticationError, match="rejected"):
        await unchanged.run()
    assert unchanged.attempts == [0]
    changed = Backend(AuthenticationError("rejected"), changes=True)
    assert await changed.run() == 1


async def test_a_login_that_somebody_else_found_changed_is_tried_again() -> None:
    class Shared(Backend):
        async def attempt(self, number: int) -> int:
            if number == 0:
                self.connection_version += 1  # another caller was rejected as well, and read the binding first
            return await super().attempt(number)

    assert await Shared(AuthenticationError("rejected")).run() == 1


async def test_a_binding_that_cannot_be_read_again_hides_no_other_error() -> None:
    class Unreadable(Backend):
        async def refresh(self) -> None:
            raise BindingError("connection.json is no JSON")

    with pytest.raises(AuthenticationError, match="rejected"):
        await Unreadable(AuthenticationError("rejected")).run()
    assert await Unreadable(BackendUnavailableError("away")).run() == 1


async def test_the_deadline_ends_an_outage_with_its_last_error() -> None:
    backend = Backend(*(BackendUnavailableError(f"away {number}") for number in range(10_000)))
    start = time.monotonic()
    with pytest.raises(BackendUnavailableError, match=r"save of thread 't': .*0\.1 s: away \d+") as caught:
        await backend.run(RetryPolicy(deadline=0.1, base_delay=0.001, max_delay=0.01))
    assert time.monotonic() - start < 4
    assert len(backend.attempts) > 3
    assert isinstance(caught.value.__cause__, BackendUnavailableError)


async def test_the_deadline_ends_a_call_that_hangs() -> None:
    async def hang(number: int) -> None:
        await asyncio.Event().wait()

    with pytest.raises(BackendUnavailableError, match="no answer within"):
        await RetryPolicy(deadline=0.05).run(hang, Backend(), "load")


async def test_a_cancelled_caller_is_cancelled_and_not_told_of_an_outage() -> None:
    started = asyncio.Event()

    async def hang(number: int) -> None:
        started.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(QUICK.run(hang, Backend(), "load"))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
