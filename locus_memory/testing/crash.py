"""Crash tests: another process saves and is killed with SIGKILL; what it acknowledged must be there.

    crash = kill_while_saving("locus_memory:checkpointer", "t", saves=5, environ={"LOCUS_CHECKPOINT_URL": url})
    await check_history(checkpointer, "t", crash.acknowledged)

The opener is `module:function`; it is called without arguments in the other process and returns a checkpointer.
"""

from __future__ import annotations

import asyncio
import importlib
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from locus_memory.checkpointer import BaseCheckpointer

_FILLER_CHARACTERS = 200_000
"""Large enough that a save takes longer than the way from its acknowledgement to the killer."""


@dataclass(frozen=True)
class Crash:
    """What a process did until it was killed.

    Attributes:
        acknowledged: Checkpoint ids whose save had returned, in that order.
        killed: False when it came to its end before the point at which it was to be killed.
    """

    acknowledged: list[str]
    killed: bool


def kill_while_saving(opener: str, thread_id: str, *, saves: int, environ: Mapping[str, str]) -> Crash:
    """Kill a process that saves without end, as soon as it has acknowledged some saves.

    Args:
        opener: `module:function` that returns a checkpointer.
        thread_id: Thread that it saves to.
        saves: Acknowledged saves before the kill, at least 1.
        environ: Environment of the process, beside this one's.
    """
    with _start(opener, thread_id, 0, environ) as process:
        assert process.stdout is not None
        acknowledged = [line.strip() for line in itertools.islice(process.stdout, saves)]
        process.kill()
        acknowledged += [line.strip() for line in process.stdout]
    return Crash(acknowledged, process.returncode == -signal.SIGKILL)


def kill_at_event(opener: str, thread_id: str, event: int, *, environ: Mapping[str, str]) -> Crash:
    """Kill a process in its second save, right before its n-th interaction with the system.

    These are CPython's audit events: opening, renaming, removing and locking files, connecting sockets, and more.

    Args:
        opener: `module:function` that returns a checkpointer.
        thread_id: Thread that it saves to.
        event: Number of the event, from 1.
        environ: Environment of the process, beside this one's.
    """
    with _start(opener, thread_id, event, environ) as process:
        assert process.stdout is not None
        acknowledged = [line.strip() for line in process.stdout]
    return Crash(acknowledged, process.returncode == -signal.SIGKILL)


async def check_history(checkpointer: BaseCheckpointer, thread_id: str, acknowledged: list[str]) -> None:
    """Assert that no acknowledged save is missing or damaged, and that at most one more is there, the latest."""
    listed = await checkpointer.list_checkpoints(thread_id, limit=len(acknowledged) + 2)
    assert listed[-len(acknowledged) :] == acknowledged[::-1], (listed, acknowledged)
    assert len(listed) <= len(acknowledged) + 1, (listed, acknowledged)
    for checkpoint_id in listed:
        assert await checkpointer.load(thread_id, checkpoint_id) == _state(checkpoint_id)
    assert await checkpointer.load(thread_id) == _state(listed[0])


def _start(opener: str, thread_id: str, event: int, environ: Mapping[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", __name__, opener, thread_id, str(event)],
        env={**os.environ, **environ},
        stdout=subprocess.PIPE,
        text=True,
    )


def _state(checkpoint_id: str) -> dict[str, str]:
    return {"id": checkpoint_id, "filler": checkpoint_id * (_FILLER_CHARACTERS // len(checkpoint_id))}


def _die_at(event: int) -> None:
    """Kill this process when it raises its n-th audit event from now on."""
    numbers = itertools.count(1)

    def hook(name: str, arguments: object) -> None:
        if next(numbers) == event:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


async def _save_until_killed(opener: str, thread_id: str, event: int) -> None:
    module, _, function = opener.partition(":")
    checkpointer: BaseCheckpointer = getattr(importlib.import_module(module), function)()
    async with checkpointer:
        for number in itertools.count():
            if event and number == 2:
                return
            if event and number == 1:
                _die_at(event)
            saved = await checkpointer.save(_state(f"c{number}"), thread_id, f"c{number}")
            sys.stdout.write(f"{saved}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_save_until_killed(sys.argv[1], sys.argv[2], int(sys.argv[3])))
