"""Rounds of measurements, contenders interleaved, so that what disturbs the machine disturbs all alike."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter

from benchmarks.contenders import CLIENTS, Contender, Role


@dataclass
class Figures:
    """Medians over the rounds: seconds for one call alone, saves per second of `CLIENTS` concurrent callers."""

    name: str
    role: Role
    saves: list[float] = field(default_factory=list)
    loads: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)

    @property
    def save(self) -> float:
        """Median over rounds of the p50 of a save, in seconds."""
        return statistics.median(self.saves)

    @property
    def load(self) -> float:
        """Median over rounds of the p50 of a load, in seconds."""
        return statistics.median(self.loads)

    @property
    def rate(self) -> float:
        """Median over rounds of the saves per second at `CLIENTS` callers."""
        return statistics.median(self.rates)


async def measure(
    contenders: Sequence[Contender], *, rounds: int, calls: int, progress: Callable[[], None]
) -> list[Figures]:
    """Measure every contender in every round.

    Args:
        contenders: Open ones.
        rounds: At least 1; odd, so that a median is a measurement.
        calls: Calls in a round; the concurrent part makes as many altogether.
        progress: Called after each contender's turn in each round.
    """
    figures = [Figures(contender.name, contender.role) for contender in contenders]
    for number in range(rounds):
        # The order rotates: nobody always runs on the heels of the same neighbour.
        for position in range(len(contenders)):
            index = (number + position) % len(contenders)
            contender, result = contenders[index], figures[index]
            thread = f"round-{number}"
            for _ in range(5):
                await contender.save(thread)
                assert await contender.load(thread) is not None
            result.saves.append(await _p50(contender.save, thread, calls))
            result.loads.append(await _p50(contender.load, thread, calls))
            result.rates.append(await _rate(contender, thread, calls))
            progress()
    return figures


async def _p50(call: Callable[[str], Awaitable[object]], thread: str, calls: int) -> float:
    times = []
    for _ in range(calls):
        start = perf_counter()
        await call(thread)
        times.append(perf_counter() - start)
    return statistics.median(times)


async def _rate(contender: Contender, thread: str, calls: int) -> float:
    async def client(number: int) -> None:
        for _ in range(calls // CLIENTS):
            await contender.save(f"{thread}-{number}")

    start = perf_counter()
    await asyncio.gather(*(client(number) for number in range(CLIENTS)))
    return calls // CLIENTS * CLIENTS / (perf_counter() - start)
