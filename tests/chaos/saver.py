"""A process that saves without pause and keeps a journal: ``python -m tests.chaos.saver``.

The journal is what the process knows when it is killed: a line before each call of the checkpointer and one
after it, JSON each, written with one system call. Its store comes from ``$LOCUS_CHECKPOINT_URL``.
"""

import argparse
import asyncio
import hashlib
import json
import os
import random
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import locus_memory
from locus_memory.checkpointer import BaseCheckpointer
from locus_memory.errors import BackendUnavailableError
from locus_memory.retry import RetryPolicy
from tests.emulators.oracle_switch import install_if_asked


class Writer:
    """Appends to the journal."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, **entry: Any) -> None:
        os.write(self._descriptor, json.dumps(entry).encode() + b"\n")

    async def call(self, name: str, number: int, awaitable: Awaitable[Any]) -> Any:
        """Await a call of the checkpointer; its outcome and duration go to the journal. None for an outage."""
        begin = time.monotonic()
        try:
            result = await awaitable
        except BackendUnavailableError:
            self.write(event="unavailable", call=name, number=number, seconds=time.monotonic() - begin)
            return None
        if not result:
            self.write(event="empty", call=name, number=number, result=repr(result))
        else:
            self.write(event="answered", call=name, number=number, seconds=time.monotonic() - begin)
        return result


def state_of(number: int, size: int) -> dict[str, Any]:
    """Make a state that does not compress and says itself whether it is whole."""
    text = random.Random(number).randbytes(size // 2).hex()
    return {"number": number, "text": text, "digest": hashlib.sha256(text.encode()).hexdigest()}


async def save_on(checkpointer: BaseCheckpointer, writer: Writer, thread: str, first: int, size: int) -> None:
    """Save for ever, and read after each save; every error but an outage ends the process."""
    number, acknowledged = first, first > 0
    while True:
        writer.write(event="trying", number=number)
        saved = await writer.call("save", number, checkpointer.save(state_of(number, size), thread, str(number)))
        acknowledged = acknowledged or saved is not None
        # Until something was acknowledged, an empty answer is the right one.
        if acknowledged:
            await writer.call("load", number, checkpointer.load(thread))
            await writer.call("list_checkpoints", number, checkpointer.list_checkpoints(thread))
            await writer.call("exists", number, checkpointer.exists(thread))
        number += 1


async def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.saver", description=__doc__)
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--thread", required=True)
    parser.add_argument("--first", type=int, default=0, help="number of the first checkpoint")
    parser.add_argument("--size", type=int, default=2_000, help="of a state, in characters")
    parser.add_argument("--deadline", type=float, default=10.0, help="of a call, in seconds")
    arguments = parser.parse_args()
    install_if_asked()
    checkpointer = locus_memory.checkpointer(retry=RetryPolicy(deadline=arguments.deadline))
    writer = Writer(arguments.journal)
    await save_on(checkpointer, writer, arguments.thread, arguments.first, arguments.size)


if __name__ == "__main__":
    asyncio.run(main())
