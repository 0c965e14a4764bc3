"""`make bench`: one table, every row from the same run on the same servers."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import zstandard
from psycopg_pool import AsyncConnectionPool
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.contenders import CLIENTS, Contender, postgresql_contenders, redis_contenders
from benchmarks.conversation import conversation
from benchmarks.measure import Figures, measure
from tests.servers.postgresql import PostgreSQLServer
from tests.servers.redis import RedisServer


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
    options = parser.parse_args()
    met = asyncio.run(_run(options.rounds, options.calls, options.size))
    if options.check and not met:
        raise SystemExit(1)


async def _run(rounds: int, calls: int, size: int) -> bool:
    console = Console(highlight=False)
    state = conversation(size)
    text = state.model_dump_json().encode()
    ratio = len(text) / len(zstandard.ZstdCompressor(level=1).compress(text))
    targets: list[Target] = []
    with PostgreSQLServer() as postgresql, RedisServer() as redis:
        console.print(
            f"state: {len(text):,} bytes of JSON (zstd makes it {ratio:.1f} times smaller); {rounds} rounds of {calls} "
            f"calls; PostgreSQL {postgresql.version}, Valkey {redis.version}, all on loopback"
        )
        async with AsyncConnectionPool(
            postgresql.dsn(), min_size=8, max_size=8, open=False, kwargs={"autocommit": True, "prepare_threshold": 0}
        ) as pool:
            figures = await _measure(postgresql_contenders(state, postgresql.dsn(), pool), rounds, calls, "PostgreSQL")
        _print(console, "PostgreSQL", figures)
        targets += _targets("PostgreSQL", figures, {"": 3.0})
        figures = await _measure(redis_contenders(state, redis.url()), rounds, calls, "Redis")
        _print(console, "Redis", figures)
        targets += _targets("Redis", figures, {"locus-sdk": 3.0, "LangGraph": 1.5})
    for target in targets:
        console.print(str(target), style=None if target.met else "bold red")
    return all(target.met for target in targets)


async def _measure(contenders: Sequence[Contender], rounds: int, calls: int, title: str) -> list[Figures]:
    for contender in contenders:
        await contender.open()
    try:
        with Progress(transient=True) as progress:
            task = progress.add_task(title, total=rounds * len(contenders))
            return await measure(contenders, rounds=rounds, calls=calls, progress=lambda: progress.advance(task))
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
            f"{one.save * 1e3:.2f}",
            f"{one.save / raw.save:.2f}",
            f"{one.load * 1e3:.2f}",
            f"{one.load / raw.load:.2f}",
            f"{one.rate:,.0f}",
            f"{one.rate / raw.rate:.2f}",
            style="bold" if one.role == "ours" else None,
        )
    console.print(table)


def _targets(title: str, figures: Sequence[Figures], peers: dict[str, float]) -> list[Target]:
    raw = next(one for one in figures if one.role == "raw")
    ours = next(one for one in figures if one.role == "ours")
    found = [
        Target(f"{title}: p50 of a save to the raw driver's", ours.save / raw.save, 1.3, at_most=True),
        Target(f"{title}: p50 of a load to the raw driver's", ours.load / raw.load, 1.3, at_most=True),
    ]
    for one in figures:
        for prefix, bound in peers.items():
            if one.role == "peer" and one.name.startswith(prefix):
                description = f"{title}: throughput at {CLIENTS} to that of {one.name}"
                found.append(Target(description, ours.rate / one.rate, bound, at_most=False))
    return found


if __name__ == "__main__":
    main()
