"""LangGraph's own conformance suite, on each backend that keeps history."""

from collections.abc import AsyncIterator

import pytest
from langgraph.checkpoint.conformance import checkpointer_test, validate

from locus_memory.adapter import StorageBackendAdapter
from locus_memory.backends import MemoryCheckpointer
from locus_memory.binding import URLBinding
from locus_memory.langgraph import LangGraphSaver
from locus_memory.opening import open_checkpointer

# Counted, because a report passes as well when a capability was not even found.
TESTS = {
    "put": 17,
    "put_writes": 10,
    "get_tuple": 10,
    "list": 16,
    "delete_thread": 5,
    "copy_thread": 8,
    "delete_for_runs": 7,
    "prune": 8,
}

KEEPING_HISTORY = ["file", "postgresql"]


async def _passes_all_tests(checkpointer: StorageBackendAdapter) -> None:
    @checkpointer_test(name="locus-memory")
    async def make() -> AsyncIterator[LangGraphSaver]:
        yield LangGraphSaver(checkpointer)

    async with checkpointer:
        report = await validate(make)
    failures = [failure for result in report.results.values() for failure in result.failures or ()]
    assert failures == []
    assert {name: result.tests_passed for name, result in report.results.items()} == TESTS


async def test_it_conforms_in_memory() -> None:
    await _passes_all_tests(MemoryCheckpointer())


@pytest.mark.parametrize("store_url", KEEPING_HISTORY, indirect=True)
async def test_it_conforms(store_url: str) -> None:
    checkpointer = open_checkpointer(URLBinding(store_url))
    assert isinstance(checkpointer, StorageBackendAdapter)
    await _passes_all_tests(checkpointer)
