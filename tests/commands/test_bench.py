"""`bench`: figures, and nothing left behind."""

import signal

from locus_memory.commands.documents import BenchDocument
from tests.commands.process import CommandLine
from tests.commands.stores import on


def test_it_measures_and_cleans_up(bound: CommandLine) -> None:
    arguments = ("bench", "--seconds", "0.2", "--clients", "3", "--size", "2000")
    done: BenchDocument = bound.run(*arguments, "--json").document(BenchDocument)
    assert [(each.operation, each.clients) for each in done.measured] == [
        ("save", 1), ("load", 1), ("save", 3), ("load", 3)
    ]  # fmt: skip
    for each in done.measured:
        assert each.calls > 0
        assert 0 < each.p50_ms <= each.p99_ms
        assert each.per_second > 0
    assert on(bound.url, lambda store: store.list_threads()) == []
    assert "per second" in bound.run(*arguments).out


def test_ctrl_c_cleans_up(bound: CommandLine) -> None:
    process = bound.start("bench", "--seconds", "60", "--clients", "2")
    while len(on(bound.url, lambda store: store.list_threads())) < 1:
        assert process.poll() is None
    assert bound.finish(process, signal.SIGINT).code == 130
    assert on(bound.url, lambda store: store.list_threads()) == []
