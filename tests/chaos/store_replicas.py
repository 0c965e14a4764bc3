"""Processes that use one cross-thread store at the same moment. Few imports: twenty start."""

import asyncio
import multiprocessing
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from typing import Any

from locus_memory.binding import URLBinding
from locus_memory.opening import open_store
from tests.chaos.replicas import REPLICAS, START_SECONDS
from tests.emulators.oracle_switch import install_if_asked

SHARED = ("shared", "namespace")
TURNS = 5


@dataclass
class Outcome:
    """What one replica met.

    Attributes:
        own: Its own value, as it came back after its first put.
        nearest: Key of the item that is most like its own.
        error: What ended it early.
    """

    own: Any = None
    nearest: str | None = None
    error: str | None = None


def run_replicas(url: str) -> list[Outcome]:
    """Let `REPLICAS` new processes use the store; one outcome each."""
    # Spawned, as replicas are: a forked one would inherit locks and sockets.
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(REPLICAS, timeout=START_SECONDS), context.SimpleQueue()
    replicas = [context.Process(target=_main, args=(url, number, barrier, results)) for number in range(REPLICAS)]
    for replica in replicas:
        replica.start()
    outcomes = dict(results.get() for _ in replicas)
    for replica in replicas:
        replica.join()
    return [outcomes[number] for number in range(REPLICAS)]


def vector(number: int) -> list[float]:
    """An embedding that no other replica has."""
    return [1.0, float(number), 0.5]


def _main(url: str, number: int, barrier: Barrier, results: Any) -> None:
    install_if_asked()
    outcome = Outcome()
    try:
        asyncio.run(_use(url, number, barrier, outcome))
    except BaseException as error:
        outcome.error = repr(error)
        barrier.abort()
        raise
    finally:
        results.put((number, outcome))


async def _use(url: str, number: int, barrier: Barrier, outcome: Outcome) -> None:
    async with open_store(URLBinding(url), dimension=3) as store:
        barrier.wait()
        await store.put_with_embedding(SHARED, f"replica-{number:02}", {"replica": number}, vector(number))
        outcome.own = await store.get(SHARED, f"replica-{number:02}")
        for turn in range(TURNS):
            await store.put(SHARED, "counter", [number, turn])
            await store.put_batch([(SHARED, key, number, None) for key in ("x", "y", "z")[:: 1 - 2 * (number % 2)]])
        [found] = await store.search_by_embedding(SHARED, vector(number), 1)
        outcome.nearest = found.item.key
        barrier.wait()
