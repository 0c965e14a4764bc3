"""`make bench`: one table, every row from the same run on the same servers."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import zstandard
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks import files, object_storage, opensearch, oracle, postgresql, service, valkey
from benchmarks.contenders import CLIENTS
from benchmarks.conversation import conversation
from benchmarks.graph import STEPS
from benchmarks.measure import Figures, measure
from benchmarks.suite import OpenSuite, Requests, Suite

SUITES: dict[str, OpenSuite] = {
    "postgresql": postgresql.suite,
    "redis": valkey.suite,
    "opensearch": opensearch.suite,
    "oracle": oracle.suite,
    "oci_bucket": object_storage.suite,
    "http": service.suite,
    "file": files.file_suite,
    "memory": files.memory_suite,
}


@dataclass(frozen=True)
class Target:
    """What a ratio has to be, and what it was."""

    description: str
    value: float
    bound: float
    at_most: bool

    @property
    def met(self) -> bool:
        """Whether the ratio is within its bound."""
        return self.value <= self.bound if self.at_most else self.value >= self.bound

    def __str__(self) -> str:
        sign = "≤" if self.at_most else "≥"
        return f"{'met   ' if self.met else 'MISSED'}  {self.description}: {self.value:.2f} ({sign} {self.bound:g})"


def main() -> None:
    """Start the servers, measure, print the table and the targets."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="rounds; medians are taken over them (default 7)")
    parser.add_argument("--calls", type=int, default=400, help="calls in a round (default 400)")
    parser.add_argument("--size", type=int, default=12_800, help="bytes of the state as JSON (default 12,800)")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a target is missed")
    parser.add_argument("backends", nargs="*", metavar="BACKEND", help=f"only these of {', '.join(SUITES)}")
    options = parser.parse_args()
    if unknown := set(options.backends) - set(SUITES):
        parser.error(f"unknown backend {', '.join(sorted(unknown))}; write some of {', '.join(SUITES)}")
    wanted = options.backends or SUITES
    met = asyncio.run(_run(wanted, options.rounds, options.calls, options.size))
    if options.check and not met:
        raise SystemExit(1)


async def _run(wanted: Iterable[str], rounds: int, calls: int, size: int) -> bool:
    console = Console(highlight=False, width=110)
    state = conversation(size)
    text = state.model_dump_json().encode()
    ratio = len(text) / len(zstandard.ZstdCompressor(level=1).compress(text))
    console.print(
        f"state: {len(text):,} bytes of JSON (zstd makes it {ratio:.1f} times smaller); {rounds} rounds of {calls} "
        "calls, fewer on slow backends; all servers on loopback"
    )
    targets: list[Target] = []
    for name in wanted:
        # One backend's servers at a time: nobody's background work disturbs the others.
        async with SUITES[name](state) as suite:
            figures = await _measure(suite, rounds, calls)
            _print(console, suite.title, figures)
            targets += _targets(suite, figures)
            if suite.count_requests:
                _print_requests(console, suite.title, await suite.count_requests())
            if suite.count_bytes:
                _print_bytes(console, suite.title, await suite.count_bytes())
    for target in targets:
        console.print(str(target), style=None if target.met else "bold red")
    return all(target.met for target in targets)


async def _measure(suite: Suite, rounds: int, calls: int) -> list[Figures]:
    contenders = suite.contenders
    for contender in contenders:
        await contender.open()
    try:
        with Progress(transient=True) as progress:
            task = progress.add_task(suite.title, total=rounds * len(contenders))
            return await measure(
                contenders,
                rounds=rounds,
                calls=max(CLIENTS, int(calls * suite.calls)),
                progress=lambda: progress.advance(task),
            )
    finally:
        for contender in contenders:
            await contender.close()


def _print(console: Console, title: str, figures: Sequence[Figures]) -> None:
    raw = next(one for one in figures if one.role == "raw")
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for heading in ("save p50, ms", "to raw", "load p50, ms", "to raw", f"saves/s at {CLIENTS}", "to raw"):
        table.add_column(heading, justify="right")
    for one in figures:
        table.add_row(
            one.name,
            _milliseconds(one.save),
            f"{one.save / raw.save:.2f}",
            _milliseconds(one.load),
            f"{one.load / raw.load:.2f}",
            f"{one.rate:,.0f}",
            f"{one.rate / raw.rate:.2f}",
            style="bold" if one.role == "ours" else None,
        )
    console.print(table)


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.2f}" if seconds >= 1e-4 else f"{seconds * 1e3:.3f}"


def _print_requests(console: Console, title: str, requests: Requests) -> None:
    names = list(dict.fromkeys(name for counts in requests.values() for name in counts))
    table = Table(title=f"{title}: requests for one call", title_justify="left")
    table.add_column("")
    for name in names:
        table.add_column(name, justify="right")
    for operation, counts in requests.items():
        table.add_row(operation, *(str(counts.get(name, "")) for name in names))
    console.print(table)


def _print_bytes(console: Console, title: str, sizes: Mapping[str, int]) -> None:
    table = Table(title=f"{title}: bytes stored for a LangGraph graph of {STEPS} steps", title_justify="left")
    table.add_column("")
    table.add_column("bytes", justify="right")
    for name, size in sizes.items():
        table.add_row(name, f"{size:,}")
    console.print(table)


def _targets(suite: Suite, figures: Sequence[Figures]) -> list[Target]:
    raw = next(one for one in figures if one.role == "raw")
    ours = next(one for one in figures if one.role == "ours")
    found = []
    if suite.p50_bound is not None:
        found += [
            Target(f"{suite.title}: p50 of a save to the raw driver's", ours.save / raw.save, suite.p50_bound, True),
            Target(f"{suite.title}: p50 of a load to the raw driver's", ours.load / raw.load, suite.p50_bound, True),
        ]
    for one in figures:
        for prefix, bound in suite.throughput_bounds.items():
            if one.role == "peer" and one.name.startswith(prefix):
                description = f"{suite.title}: throughput at {CLIENTS} to that of {one.name}"
                found.append(Target(description, ours.rate / one.rate, bound, at_most=False))
    saver = next((one for one in figures if one.role == "saver"), None)
    for one in figures:
        if saver and suite.saver_peers and one.role == "peer" and one.name.startswith(suite.saver_peers):
            whose = f"to that of {one.name}"
            found += [
                Target(f"{suite.title}: p50 of our saver's put {whose}", saver.save / one.save, 1.0, True),
                Target(f"{suite.title}: p50 of our saver's get_tuple {whose}", saver.load / one.load, 1.0, True),
                Target(f"{suite.title}: throughput of our saver {whose}", saver.rate / one.rate, 1.5, False),
            ]
    return found


if __name__ == "__main__":
    main()
