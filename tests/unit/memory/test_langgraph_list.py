"""How often LangGraph's saver asks the backend for what `list` returns."""

from collections.abc import Sequence
from itertools import islice
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import empty_checkpoint

from locus_memory.backends.memory import MemoryCheckpointer
from locus_memory.langgraph import LangGraphSaver

THREAD: RunnableConfig = {"configurable": {"thread_id": "thread", "checkpoint_ns": ""}}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many checkpoints each request asked for."""
    return []


@pytest.fixture
async def saver(asked: list[int], monkeypatch: pytest.MonkeyPatch) -> LangGraphSaver:
    """A saver of 100 checkpoints, whose requests are counted."""
    checkpointer = MemoryCheckpointer()
    saver, config = LangGraphSaver(checkpointer), THREAD
    for _ in range(100):
        config = await saver.aput(config, empty_checkpoint(), {"step": 1}, {})
    get_complete = checkpointer.storage.get_complete

    async def counted(thread_id: str, ids: Sequence[str] | None = None, **options: Any) -> Any:
        asked.append(len(ids or ()))
        return await get_complete(thread_id, ids, **options)

    monkeypatch.setattr(checkpointer.storage, "get_complete", counted)
    return saver


async def test_a_whole_thread_takes_few_requests(saver: LangGraphSaver, asked: list[int]) -> None:
    found = [each async for each in saver.alist(THREAD)]
    assert len({each.config["configurable"]["checkpoint_id"] for each in found}) == 100
    assert asked == [1, 2, 4, 8, 16, 32, 32, 5]


async def test_who_wants_the_newest_reads_no_more(saver: LangGraphSaver, asked: list[int]) -> None:
    assert len([each async for each in saver.alist(THREAD, limit=1)]) == 1
    assert asked == [1]


def test_who_stops_early_has_read_little(saver: LangGraphSaver, asked: list[int]) -> None:
    assert len(list(islice(saver.list(THREAD), 3))) == 3
    assert asked == [1, 2]
    saver.close()
