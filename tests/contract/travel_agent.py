"""A program with locus-sdk's real Agent; its checkpointer comes from the environment.

python -m tests.contract.travel_agent say <thread> <message>      run a turn and print the answer
python -m tests.contract.travel_agent die <thread> <message>      the same, killed after the tool has run
python -m tests.contract.travel_agent continue <thread>           finish a turn that another process began
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable

from locus.agent import Agent
from locus.core.messages import Message, Role
from locus.models.base import ModelResponse
from locus.testing import FunctionModel, text, tool_call
from locus.tools import tool

import locus_memory
from locus_memory.checkpointer import BaseCheckpointer
from tests.emulators.oracle_switch import install_if_asked

Respond = Callable[[list[Message], list[dict[str, object]]], ModelResponse]


@tool
def best_month(city: str) -> str:
    """Say when to go to a city."""
    with open(os.environ.get("TOOL_LOG", os.devnull), "a") as log:  # noqa: PTH123 - os.devnull is no Path
        log.write(f"{city}\n")
    return "April"


def respond(messages: list[Message], tools: list[dict[str, object]]) -> ModelResponse:
    """Answer from the conversation alone."""
    *earlier, question = [message.content or "" for message in messages if message.role is Role.USER]
    if "Tokyo" not in question:
        return text(f"You said: {' / '.join(earlier)}" if earlier else "You said nothing")
    if messages[-1].role is not Role.TOOL:
        return tool_call("best_month", city="Tokyo")
    return text(f"Go in {messages[-1].content}")


def respond_and_die(messages: list[Message], tools: list[dict[str, object]]) -> ModelResponse:
    """As a process does that runs out of memory between two iterations."""
    if messages[-1].role is Role.TOOL:
        os.kill(os.getpid(), signal.SIGKILL)
    return respond(messages, tools)


def make_agent(checkpointer: BaseCheckpointer, respond: Respond = respond) -> Agent:
    """Make the agent."""
    return Agent(model=FunctionModel(respond), tools=[best_month], checkpointer=checkpointer, context_window=8192)


async def _continue(agent: Agent, thread_id: str) -> str:
    events = [event async for event in agent.continue_turn(thread_id)]
    return str(getattr(events[-1], "final_message", ""))


if __name__ == "__main__":
    install_if_asked()
    verb, thread, *message = sys.argv[1:]
    agent = make_agent(locus_memory.checkpointer(), respond_and_die if verb == "die" else respond)
    if verb == "continue":
        print(asyncio.run(_continue(agent, thread)))
    else:
        print(agent.run_sync(message[0], thread_id=thread).text)
