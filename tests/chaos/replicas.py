"""Processes that use one store at the same moment, like the replicas of a deployment. Few imports: twenty start."""

import asyncio
import multiprocessing
from dataclasses import dataclass, field
from multiprocessing.synchronize import Barrier
from typing import Any

from locus_memory.binding import URLBinding
from locus_memory.checkpointer import BaseCheckpointer
from locus_memory.errors import CheckpointConflictError
from locus_memory.opening import open_checkpointer
from tests.emulators.oracle_switch import install_if_asked

REPLICAS = 20
ROUNDS = 10
SHARED_THREAD = "shared"
START_SECONDS = 90


@dataclass
class Outcome:
    """What one replica met.

    Attributes:
        own: its own state, as loaded after its first save.
        won: rounds of the competition that it won.
        lost: rounds in which it was told of a conflict.
        seen: the winner that it read after each round.
        error: what ended it early.
    """

    own: Any = None
    won: list[int] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)
    seen: list[int | None] = field(default_factory=list)
    error: str | None = None


def run_replicas(url: str) -> list[Outcome]:
    """Let ``REPLICAS`` new processes use the store; one outcome each."""
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


def _main(url: str, number: int, barrier: Barrier, results: Any) -> None:
    outcome = Outcome()
    install_if_asked()
    try:
        asyncio.run(_use(url, number, barrier, outcome))
    except BaseException as error:
        outcome.error = repr(error)
        barrier.abort()
        raise
    finally:
        results.put((number, outcome))


async def _use(url: str, number: int, barrier: Barrier, outcome: Outcome) -> None:
    async with open_checkpointer(URLBinding(url)) as checkpointer:
        barrier.wait()
        await checkpointer.save({"replica": number}, f"thread-{number}")
        outcome.own = await checkpointer.load(f"thread-{number}")
        for turn in range(ROUNDS):
            await _compete(checkpointer, number, turn, barrier, outcome)


async def _compete(checkpointer: BaseCheckpointer, number: int, turn: int, barrier: Barrier, outcome: Outcome) -> None:
    latest = await checkpointer.list_checkpoints(SHARED_THREAD, 1)
    barrier.wait()
    try:
        await checkpointer.save(
            {"winner": number},
            SHARED_THREAD,
            f"{turn}-{number}",
            expected_checkpoint_id=latest[0] if latest else None,
        )
    except CheckpointConflictError:
        outcome.lost.append(turn)
    else:
        outcome.won.append(turn)
    barrier.wait()
    state = await checkpointer.load(SHARED_THREAD)
    outcome.seen.append(state["winner"] if state else None)
    # Nobody goes on to write before everybody has read.
    barrier.wait()
