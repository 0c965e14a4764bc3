"""LangGraph's own conformance suite, and its graphs, on each backend that keeps history."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.conformance import checkpointer_test, validate

from locus_memory.adapter import StorageBackendAdapter
from locus_memory.backends import MemoryCheckpointer
from locus_memory.binding import URLBinding
from locus_memory.errors import CorruptCheckpointError
from locus_memory.langgraph import LangGraphSaver
from locus_memory.opening import open_checkpointer
from locus_memory.storage import CheckpointSummary

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

KEEPING_HISTORY = [
    "file",
    "postgresql",
    "oracle",
    "redis",
    "redis_sentinels",
    "redis_cluster",
    "opensearch",
    "oci_bucket",
    "http",
]


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


def _run(url: str, *arguments: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "tests.contract.travel_graph", *arguments],
        env={**os.environ, "LOCUS_CHECKPOINT_URL": url},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("store_url", KEEPING_HISTORY, indirect=True)
def test_a_graph_that_waits_for_a_person_goes_on_in_another_process(store_url: str) -> None:
    asked = _run(store_url, "ask", "trip/1")
    assert asked == {"log": ["planned"], "city": "Tokyo", "asked": [{"question": "Book Tokyo?"}]}
    answered = _run(store_url, "answer", "trip/1", "yes")
    assert answered == {"log": ["planned", "confirmed: yes", "booked Tokyo"], "city": "Tokyo", "asked": []}


async def test_a_channel_that_did_not_change_is_stored_once() -> None:
    checkpointer = MemoryCheckpointer()
    saver = LangGraphSaver(checkpointer)
    config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    for step in range(10):
        checkpoint = empty_checkpoint()
        checkpoint["channel_values"] = {"document": ["x" * 10_000], "step": [step]}
        checkpoint["channel_versions"] = {"document": "1", "step": str(step)}
        new_versions: Any = {"step": str(step)} | ({"document": "1"} if step == 0 else {})
        config = await saver.aput(config, checkpoint, {"step": step}, new_versions)
    ids = [each.checkpoint_id for each in await _summaries(checkpointer)]
    stored = await checkpointer.storage.get_complete("t", ids)
    documents = {part for each in stored for name, part in each.parts.items() if "document" in name}
    assert len(stored) == 10
    assert len(documents) == 1


async def test_a_channel_whose_part_is_gone_is_sent_again() -> None:
    checkpointer = MemoryCheckpointer()
    saver = LangGraphSaver(checkpointer)
    checkpoint = empty_checkpoint()
    checkpoint["channel_values"] = {"document": ["kept"]}
    checkpoint["channel_versions"] = {"document": "1"}
    start: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    first = await saver.aput(start, checkpoint, {}, {"document": "1"})
    await checkpointer.delete("t")
    second = await saver.aput(first, {**checkpoint, "id": "2"}, {}, {})
    found = await saver.aget_tuple(second)
    assert found is not None
    assert found.checkpoint["channel_values"] == {"document": ["kept"]}


def test_the_sync_methods_work_with_and_without_a_running_loop() -> None:
    saver = LangGraphSaver(MemoryCheckpointer())
    config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}

    def step(number: int) -> None:
        nonlocal config
        config = saver.put(config, {**empty_checkpoint(), "id": str(number)}, {"step": number}, {})
        saver.put_writes(config, [("channel", number)], "task")

    async def within() -> None:
        step(2)

    step(1)
    asyncio.run(within())
    assert [found.metadata["step"] for found in saver.list({"configurable": {"thread_id": "t"}})] == [2, 1]
    assert [found.metadata["step"] for found in saver.list(None, limit=1)] == [2]
    found = saver.get_tuple({"configurable": {"thread_id": "t"}})
    assert found is not None
    assert found.pending_writes == [("task", "channel", 2)]
    saver.close()
    saver.delete_thread("t")
    assert saver.get_tuple({"configurable": {"thread_id": "t"}}) is None
    saver.close()


async def test_metadata_that_is_no_json_comes_back_as_it_was() -> None:
    saver = LangGraphSaver(MemoryCheckpointer())
    config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
    metadata: Any = {"step": 1, "source": "loop", "when": {1, 2}}
    stored = await saver.aput(config, empty_checkpoint(), metadata, {})
    found = await saver.aget_tuple(stored)
    assert found is not None
    assert found.metadata == metadata
    assert [each.metadata async for each in saver.alist(None, filter={"source": "loop"})] == [metadata]
    assert [each async for each in saver.alist(None, filter={"source": "input"})] == []


async def test_checkpoints_of_graphs_and_of_agents_are_told_apart() -> None:
    checkpointer = MemoryCheckpointer()
    saver = LangGraphSaver(checkpointer)
    await checkpointer.save({"agent": 1}, "agent")
    with pytest.raises(CorruptCheckpointError, match="state of an agent"):
        await saver.aget_tuple({"configurable": {"thread_id": "agent"}})
    await saver.aput({"configurable": {"thread_id": "graph", "checkpoint_ns": ""}}, empty_checkpoint(), {}, {})
    with pytest.raises(CorruptCheckpointError, match=r"locus_memory\.langgraph"):
        await checkpointer.load("graph")


async def _summaries(checkpointer: MemoryCheckpointer) -> list[CheckpointSummary]:
    return await checkpointer.storage.list_checkpoints("t", 100)
