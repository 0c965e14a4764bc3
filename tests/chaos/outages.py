"""What must hold on every server that goes away and comes back; each backend's test module runs all of it."""

import asyncio
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from locus.agent import Agent
from locus.core.messages import Message, Role
from locus.models.base import ModelResponse
from locus.testing import FunctionModel, text, tool_call
from locus.tools import tool

from locus_memory.binding import URLBinding
from locus_memory.checkpointer import BaseCheckpointer
from locus_memory.errors import BackendUnavailableError
from locus_memory.opening import open_checkpointer
from locus_memory.retry import RetryPolicy
from tests.chaos.journal import SavingAgent
from tests.servers.server import Server

THREAD = "conversation"
DEADLINE = 2.0
OUTAGE_SECONDS = 10
KILLS = 12


def recite(messages: list[Message], tools: list[dict[str, Any]]) -> str:
    """Answer with everything that the user ever said: what was forgotten is missing in it."""
    return " ".join(each.content or "" for each in messages if each.role is Role.USER)


class Outages:
    """The scenarios. Subclasses provide the fixtures ``server`` and ``url``, and `drop_connections`."""

    def drop_connections(self, server: Any) -> int:
        """Make the server close the connections of all agents; return how many there were."""
        raise NotImplementedError

    @pytest.fixture
    def saver(self, tmp_path: Path, url: str) -> SavingAgent:
        return SavingAgent(tmp_path, url, thread=THREAD, deadline=DEADLINE)

    def checkpointer(self, url: str, deadline: float = 10) -> BaseCheckpointer:
        return open_checkpointer(URLBinding(url), retry=RetryPolicy(deadline=deadline))

    def check(self, saver: SavingAgent, url: str) -> None:
        async def run() -> None:
            async with self.checkpointer(url) as checkpointer:
                await saver.check(checkpointer)

        asyncio.run(run())

    def test_a_server_stopped_for_ten_seconds_loses_nothing_acknowledged(
        self, server: Server, url: str, saver: SavingAgent
    ) -> None:
        with saver.running() as process:
            saver.wait_for_saves(20, process)
            server.stop()
            time.sleep(OUTAGE_SECONDS)
            server.start()
            saver.wait_for_saves(20, process)
        assert len(saver.outages) >= OUTAGE_SECONDS // DEADLINE - 1
        self.check(saver, url)

    def test_an_outage_shorter_than_the_deadline_is_no_error(self, server: Server, url: str, tmp_path: Path) -> None:
        saver = SavingAgent(tmp_path, url, thread=THREAD, deadline=10)
        with saver.running() as process:
            saver.wait_for_saves(20, process)
            server.restart()
            saver.wait_for_saves(20, process)
        assert saver.outages == []
        self.check(saver, url)

    def test_a_server_killed_between_two_instructions_loses_nothing_acknowledged(
        self, server: Server, url: str, saver: SavingAgent
    ) -> None:
        with saver.running() as process:
            for _ in range(3):
                saver.wait_for_saves(10, process)
                server.kill()
                saver.wait_for_outages(1)
                server.start()
            saver.wait_for_saves(10, process)
        self.check(saver, url)

    def test_a_paused_server_is_an_error_within_the_deadline_and_loses_nothing(
        self, server: Server, url: str, saver: SavingAgent
    ) -> None:
        with saver.running() as process:
            saver.wait_for_saves(20, process)
            server.pause()
            try:
                saver.wait_for_outages(3)
            finally:
                server.resume()
            saver.wait_for_saves(20, process)
        assert max(each["seconds"] for each in saver.entries() if "seconds" in each) <= DEADLINE + 1
        self.check(saver, url)

    def test_dropped_connections_are_made_anew_without_an_error(
        self, server: Server, url: str, saver: SavingAgent
    ) -> None:
        dropped = 0
        with saver.running() as process:
            for _ in range(20):
                saver.wait_for_saves(5, process)
                dropped += self.drop_connections(server)
            saver.wait_for_saves(5, process)
        assert dropped >= 15
        assert saver.outages == []
        self.check(saver, url)

    def test_a_killed_agent_leaves_whole_checkpoints_only(self, url: str, tmp_path: Path) -> None:
        # Too large for one packet, so that most of the time is spent between the first and the last of a save.
        saver = SavingAgent(tmp_path, url, thread=THREAD, size=2_000_000)
        chance = random.Random(7)
        for _ in range(KILLS):
            with saver.running() as process:
                saver.wait_for_saves(1, process)
                time.sleep(chance.uniform(0, 0.05))
        assert len(saver.numbers("trying")) > len(saver.acknowledged), "no process was killed inside a save"
        self.check(saver, url)

    def test_an_agent_raises_during_an_outage_and_never_starts_afresh(self, server: Server, url: str) -> None:
        model = FunctionModel(recite)
        agent = Agent(model=model, checkpointer=self.checkpointer(url, DEADLINE), context_window=8192)
        agent.run_sync("My name is Ada.", thread_id=THREAD)
        server.stop()
        with pytest.raises(BackendUnavailableError):
            agent.run_sync("Who am I?", thread_id=THREAD)
        assert model.call_count == 1, "the model was asked without the conversation so far"
        server.start()
        answer = agent.run_sync("Who am I now?", thread_id=THREAD).text
        assert answer == "My name is Ada. Who am I now?"

    def test_an_agent_waits_for_a_short_outage_and_remembers(self, server: Server, url: str) -> None:
        agent = Agent(model=FunctionModel(recite), checkpointer=self.checkpointer(url), context_window=8192)
        agent.run_sync("My name is Ada.", thread_id=THREAD)
        server.stop()
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(agent.run_sync, "Who am I?", thread_id=THREAD)
            server.start()
            assert answer.result(timeout=15).text == "My name is Ada. Who am I?"

    def test_a_turn_cut_off_by_an_outage_goes_on_after_its_last_iteration(self, server: Server, url: str) -> None:
        looked_up: list[str] = []

        @tool
        def look_up(person: str) -> str:
            """Look somebody up; the server goes away meanwhile."""
            looked_up.append(person)
            if looked_up == ["Ada", "Grace"]:
                server.stop()
            return f"{person} is here"

        def respond(messages: list[Message], tools: list[dict[str, Any]]) -> ModelResponse:
            found = [each.content or "" for each in messages if each.role is Role.TOOL]
            if len(found) == 2:
                return text(", ".join(found))
            return tool_call("look_up", call_id=f"call-{len(found)}", person=("Ada", "Grace")[len(found)])

        checkpointer = self.checkpointer(url, DEADLINE)
        agent = Agent(model=FunctionModel(respond), tools=[look_up], checkpointer=checkpointer, context_window=8192)
        with pytest.raises(BackendUnavailableError):
            agent.run_sync("Who is here?", thread_id=THREAD)
        server.start()

        async def go_on() -> Any:
            async with checkpointer:
                async for _ in agent.continue_turn(THREAD):
                    pass
                return await agent.get_state(THREAD)

        assert asyncio.run(go_on()).messages[-1].content == "Ada is here, Grace is here"
        assert looked_up == ["Ada", "Grace", "Grace"]
