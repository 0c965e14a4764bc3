"""A process that dies between any two requests to the bucket: whole checkpoints, and the next call recovers.

The emulator stops answering after the n-th request, which is what the death of the process looks like from there;
with `drop-after` the n-th is carried out and never answered.
"""

import asyncio
import itertools
import secrets
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import pytest

from locus_memory.adapter import StorageBackendAdapter
from locus_memory.backends import OCIBucketBackend
from locus_memory.errors import BackendUnavailableError, CheckpointConflictError
from locus_memory.retry import Refreshable, RetryPolicy
from tests.servers.oci import NAMESPACE, REGION, ObjectStorageServer

T = TypeVar("T")

OLD = 70
"""More than a head describes itself: the oldest are in a page."""

LOADED = ("new", "c69", "c68", "c3", "c0")
UNTOUCHED = frozenset(f"c{number}" for number in range(OLD)) - set(LOADED)

Call = Callable[[StorageBackendAdapter], Awaitable[object]]
States = dict[str, object]

CALLS: dict[str, Call] = {
    "save": lambda checkpointer: checkpointer.save({"n": "new"}, "t", "new"),
    "replace": lambda checkpointer: checkpointer.save({"n": "new"}, "t", "c69"),
    "replace in a page": lambda checkpointer: checkpointer.save({"n": "new"}, "t", "c3"),
    "delete the latest": lambda checkpointer: checkpointer.delete("t", "c69"),
    "delete in a page": lambda checkpointer: checkpointer.delete("t", "c3"),
    "delete the thread": lambda checkpointer: checkpointer.delete("t"),
    "copy": lambda checkpointer: checkpointer.copy_thread("t", "u"),
    "vacuum": lambda checkpointer: checkpointer.vacuum(0),
}


class Once(RetryPolicy):
    """Repeats nothing, as a process that dies."""

    async def run(self, attempt: Callable[[int], Awaitable[T]], connection: Refreshable, description: str) -> T:
        return await attempt(0)


def reopened(server: ObjectStorageServer, bucket: str) -> StorageBackendAdapter:
    """Open a bucket as a new process would."""
    return OCIBucketBackend(
        bucket,
        NAMESPACE,
        region=REGION,
        service_endpoint=server.endpoint,
        pool_max_size=4,
        retry=Once(),
        **server.key.fields(),  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def filled(oci_server: ObjectStorageServer) -> str:
    """A bucket with one thread; tests use copies."""
    bucket = f"test-{secrets.token_hex(6)}"
    oci_server.create_bucket(bucket)

    async def fill() -> None:
        async with reopened(oci_server, bucket) as checkpointer:
            for number in range(OLD):
                await checkpointer.save({"n": number}, "t", f"c{number}")

    asyncio.run(fill())
    return bucket


@pytest.mark.parametrize("effect", ["drop-before", "drop-after"])
@pytest.mark.parametrize("call", CALLS)
async def test_a_call_that_dies_after_any_request_leaves_the_thread_as_before_or_after_it(
    oci_server: ObjectStorageServer, filled: str, call: str, effect: str
) -> None:
    before: States = {f"c{number}": {"n": number} for number in reversed(range(OLD))}
    outcome = expected(call, before)
    deaths = 0
    for requests in steps():
        bucket = f"test-{secrets.token_hex(6)}"
        oci_server.admin("POST", "copy", {"from": filled, "to": bucket})
        died = await dies(oci_server, bucket, CALLS[call], effect, requests)
        deaths += died
        async with reopened(oci_server, bucket) as checkpointer:
            if died:
                assert await histories(checkpointer) in ((before, {}), outcome)
                await repeat(call, checkpointer)
            assert await histories(checkpointer) == outcome
            assert list(await history(checkpointer, "t")) == list(outcome[0])
            await checkpointer.save({}, "t", "later")
            await checkpointer.delete("t")
            await checkpointer.delete("u")
        assert oci_server.objects(bucket, "threads/") == []
        if not died:
            break
    assert deaths >= 3


def steps() -> Iterator[int]:
    """Every request of a call that makes few; of one that makes many ever fewer."""
    return itertools.chain(range(8), (int(8 * 1.7**power) for power in itertools.count()))


async def dies(server: ObjectStorageServer, bucket: str, call: Call, effect: str, requests: int) -> bool:
    """Make a call that gets no answers after some; tell whether it needed more."""
    async with reopened(server, bucket) as checkpointer:
        server.admin("POST", "faults", {"effect": effect, "skip": requests, "count": 1})
        server.admin("POST", "faults", {"effect": "drop-before", "skip": requests, "count": 10**6})
        try:
            await call(checkpointer)
        except BackendUnavailableError:
            return True
        finally:
            # What a process does at the same time dies with it.
            others = asyncio.all_tasks() - {asyncio.current_task()}
            await asyncio.gather(*others, return_exceptions=True)
            server.admin("DELETE", "faults")
        return False


async def repeat(call: str, checkpointer: StorageBackendAdapter) -> None:
    """Make the call again in another process, as whoever got no answer does."""
    if call == "copy" and await checkpointer.exists("u"):
        with pytest.raises(CheckpointConflictError):
            await CALLS[call](checkpointer)
    else:
        await CALLS[call](checkpointer)


async def history(checkpointer: StorageBackendAdapter, thread_id: str) -> States:
    """Load what is listed, newest first; of those that no call touches, only some."""
    listed = await checkpointer.list_checkpoints(thread_id, 200)
    loaded = [name for name in listed if name in LOADED]
    latest, *states = await asyncio.gather(
        checkpointer.load(thread_id), *(checkpointer.load(thread_id, name) for name in loaded)
    )
    found: States = {name: {"n": int(name[1:])} if name in UNTOUCHED else None for name in listed}
    found |= dict(zip(loaded, states, strict=True))
    assert latest == next(iter(found.values()), None)
    return found


async def histories(checkpointer: StorageBackendAdapter) -> tuple[States, States]:
    """Load the thread and its copy."""
    found = await history(checkpointer, "t"), await history(checkpointer, "u")
    assert await checkpointer.list_threads() == [name for name, states in zip("tu", found, strict=True) if states]
    return found


def expected(call: str, thread: States) -> tuple[States, States]:
    """What the thread and its copy are after a call."""
    new: States = {"n": "new"}

    def without(name: str) -> States:
        return {key: state for key, state in thread.items() if key != name}

    outcomes: dict[str, tuple[States, States]] = {
        "save": ({"new": new, **thread}, {}),
        "replace": ({"c69": new, **without("c69")}, {}),
        "replace in a page": ({"c3": new, **without("c3")}, {}),
        "delete the latest": (without("c69"), {}),
        "delete in a page": (without("c3"), {}),
        "copy": (thread, thread),
    }
    return outcomes.get(call, ({}, {}))
