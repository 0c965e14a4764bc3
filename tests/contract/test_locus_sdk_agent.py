"""locus-sdk's real Agent on each backend: conversations go on in another process, and after a kill."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from locus_memory.backends import MemoryCheckpointer
from locus_memory.binding import URLBinding
from locus_memory.checkpointer import BaseCheckpointer
from locus_memory.opening import open_checkpointer
from tests.contract.travel_agent import make_agent

THREAD = "user/c42:é"


@pytest.fixture
def tool_log(tmp_path: Path) -> Path:
    """One line for each time that the tool ran."""
    return tmp_path / "tool.log"


def _run(url: str, tool_log: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.contract.travel_agent", *arguments],
        env={**os.environ, "LOCUS_CHECKPOINT_URL": url, "TOOL_LOG": str(tool_log)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def _answer(url: str, tool_log: Path, *arguments: str) -> str:
    done = _run(url, tool_log, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def _history(url: str) -> list[str]:
    async def read() -> list[str]:
        async with open_checkpointer(URLBinding(url)) as checkpointer:
            return await checkpointer.list_checkpoints(THREAD)

    return asyncio.run(read())


def test_a_second_process_goes_on_with_the_conversation(store_url: str, tool_log: Path) -> None:
    assert _answer(store_url, tool_log, "say", THREAD, "I am planning a trip to Tokyo.") == "Go in April"
    answer = _answer(store_url, tool_log, "say", THREAD, "What were we discussing?")
    assert answer == "You said: I am planning a trip to Tokyo."
    assert _answer(store_url, tool_log, "say", "other", "What were we discussing?") == "You said nothing"
    # The saves of single iterations are superseded by the one of the turn, and deleted.
    assert len(_history(store_url)) == 2


def test_a_turn_killed_after_its_tool_ran_is_finished_without_running_it_again(store_url: str, tool_log: Path) -> None:
    killed = _run(store_url, tool_log, "die", THREAD, "I am planning a trip to Tokyo.")
    assert killed.returncode == -signal.SIGKILL
    assert len(_history(store_url)) == 1
    assert _answer(store_url, tool_log, "continue", THREAD) == "Go in April"
    assert tool_log.read_text() == "Tokyo\n"
    assert len(_history(store_url)) == 1


def test_one_agent_runs_on_a_new_event_loop_each_time(store_url: str) -> None:
    _converse(open_checkpointer(URLBinding(store_url)))


def test_one_agent_runs_on_a_new_event_loop_each_time_in_memory() -> None:
    _converse(MemoryCheckpointer())


def _converse(checkpointer: BaseCheckpointer) -> None:
    agent = make_agent(checkpointer)
    # run_sync makes a loop, and closes the checkpointer at its end.
    assert agent.run_sync("I am planning a trip to Tokyo.", thread_id=THREAD).text == "Go in April"
    answer = agent.run_sync("What were we discussing?", thread_id=THREAD).text
    assert answer == "You said: I am planning a trip to Tokyo."
    assert len(asyncio.run(_listed(checkpointer))) == 2


async def _listed(checkpointer: BaseCheckpointer) -> list[str]:
    async with checkpointer:
        return await checkpointer.list_checkpoints(THREAD)
