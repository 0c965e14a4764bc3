"""What one backend's module gives to the benchmark."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from locus.core.state import AgentState

from benchmarks.contenders import Contender

Requests = Mapping[str, Mapping[str, int]]
"""Requests to the server by operation, then by contender."""


@dataclass(frozen=True)
class Suite:
    """One table of the benchmark; its servers run.

    Attributes:
        title: The server and its version.
        contenders: Everything that stores on it; exactly one is ours, one is raw.
        p50_bound: How many times the raw driver's time a save or load of ours may take.
        throughput_bounds: How many times the throughput ours must have, by the beginning of a peer's name.
        saver_peers: Beginning of the names of the peers that our saver for LangGraph is compared with.
        calls: Share of the calls that the command line asks for; slow servers get fewer.
        count_requests: Counts what each operation asks of the server.
        count_bytes: Counts what each saver stores for a graph.
    """

    title: str
    contenders: Sequence[Contender]
    p50_bound: float | None = None
    throughput_bounds: Mapping[str, float] = field(default_factory=dict)
    saver_peers: str | None = None
    calls: float = 1.0
    count_requests: Callable[[], Awaitable[Requests]] | None = None
    count_bytes: Callable[[], Awaitable[Mapping[str, int]]] | None = None


OpenSuite = Callable[[AgentState], AbstractAsyncContextManager[Suite]]
"""Starts the servers of a suite, and stops them at the end."""
