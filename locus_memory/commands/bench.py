"""`bench`: how fast the bound store is, from where this runs."""

from __future__ import annotations

import asyncio
import itertools
import random
import secrets
import statistics
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Annotated, Any, Final

import typer

from locus_memory.adapter import StorageBackendAdapter
from locus_memory.commands import options
from locus_memory.commands.documents import BenchDocument, Measurement
from locus_memory.commands.output import Output, counted, shown_bytes
from locus_memory.commands.running import run_on_store

PREFIX: Final = "locus-memory-bench-"
"""Threads of a benchmark begin with this; one that was killed leaves some."""

_WORDS: Final = 2_000
_KEPT: Final = 20
"""Checkpoint ids that a thread's saves take turns in: a benchmark must not measure how long its history became."""


def bench_command(
    clients: Annotated[int, typer.Option(min=1, max=256, help="How many save and load at once.")] = 8,
    size: Annotated[int, typer.Option(min=100, max=64 * 1024 * 1024, help="Bytes of a state, as JSON.")] = 12_800,
    seconds: Annotated[float, typer.Option(min=0.1, max=600, help="How long each of the four measurements takes.")] = 3,
    store: options.Store = None,
    url: options.Url = None,
    timeout: options.Timeout = 10,
    as_json: options.Json = False,
) -> None:
    """Measure saves and loads on the store, with one client and with several, and clean up.

    It writes to threads of its own, and loads the store as agents would: think before you run it on one in use.
    """

    async def work(output: Output, checkpointer: StorageBackendAdapter) -> None:
        threads = [f"{PREFIX}{secrets.token_hex(8)}-{number}" for number in range(clients)]
        state = sample_state(size)
        results = []
        try:
            # Connections, tables and scripts: what only the first call pays is no figure of the store.
            await checkpointer.save(state, threads[0], "0")
            await checkpointer.load(threads[0])
            with output.progress("measuring", 2 * len({1, clients})) as meter:
                for count in sorted({1, clients}):
                    for operation in (_saving(checkpointer, state), _loading(checkpointer)):
                        results.append(await _measure(*operation, threads[:count], seconds))
                        meter.advance()
        finally:
            for thread in threads:
                await checkpointer.delete(thread)
        _report(output, checkpointer, size, results)

    run_on_store(work, store=store, url=url, timeout=timeout, as_json=as_json)


def sample_state(size: int) -> dict[str, Any]:
    """Make a conversation of about this many bytes as JSON, that compresses three to four times as real ones do."""
    source = random.Random(17)  # noqa: S311 - text, no secret
    letters = "etaoinshrdlucmfwypvbgkjqxz"
    vocabulary = ["".join(source.choices(letters, k=source.randint(2, 10))) for _ in range(_WORDS)]
    messages: list[dict[str, str]] = []
    left = size
    for role in itertools.cycle(("user", "assistant")):
        words = min(60, max(1, left // 7))
        content = " ".join(source.choices(vocabulary, weights=[1 / (n + 1) for n in range(_WORDS)], k=words))
        messages.append({"role": role, "content": content[: max(1, left)]})
        left -= len(content) + 40
        if left <= 0:
            return {"messages": messages}
    raise AssertionError("cycle() never ends")


_Operation = tuple[str, Callable[[str, int], Awaitable[Any]]]


def _saving(checkpointer: StorageBackendAdapter, state: dict[str, Any]) -> _Operation:
    return "save", lambda thread, number: checkpointer.save(state, thread, str(number % _KEPT))


def _loading(checkpointer: StorageBackendAdapter) -> _Operation:
    return "load", lambda thread, _: checkpointer.load(thread)


async def _measure(
    name: str, operation: Callable[[str, int], Awaitable[Any]], threads: list[str], seconds: float
) -> Measurement:
    times: list[float] = []
    started = perf_counter()

    async def client(thread: str) -> None:
        for number in itertools.count():
            before = perf_counter()
            if number and before - started >= seconds:
                return
            await operation(thread, number)
            times.append(perf_counter() - before)

    await asyncio.gather(*map(client, threads))
    elapsed = perf_counter() - started
    hundredths = statistics.quantiles(times, n=100, method="inclusive") if len(times) > 1 else times * 99
    return Measurement(
        operation=name,
        clients=len(threads),
        calls=len(times),
        p50_ms=round(statistics.median(times) * 1000, 3),
        p99_ms=round(hundredths[98] * 1000, 3),
        per_second=round(len(times) / elapsed, 1),
    )


def _report(output: Output, checkpointer: StorageBackendAdapter, size: int, results: list[Measurement]) -> None:
    if output.as_json:
        store = repr(checkpointer.storage)
        output.document(BenchDocument(store=store, state_bytes=size, measured=results))
        return
    output.line(f"{checkpointer.storage!r}, states of {shown_bytes(size)} as JSON", style="bold")
    output.table(
        ("operation", "clients", "p50 ms", "p99 ms", "per second", "calls"),
        [
            (
                each.operation,
                each.clients,
                f"{each.p50_ms:.2f}",
                f"{each.p99_ms:.2f}",
                f"{each.per_second:,.0f}",
                each.calls,
            )
            for each in results
        ],
    )
    output.line(f"cleaned up after {counted(sum(each.calls for each in results), 'call')}")
