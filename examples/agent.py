"""A travel agent that remembers: the same thread id, another pod, the conversation goes on.

Nothing in here says where conversations are kept. In Kubernetes a label on the pod does
(`03-agents.yaml`), elsewhere an environment variable (`without_kubernetes.py`).
"""

import os
import signal
from pathlib import Path

from locus.agent import Agent
from locus.core.messages import Message, Role
from locus.models.base import ModelResponse
from locus.testing import FunctionModel, tool_call
from locus.tools import tool

import locus_memory

ANSWERED = Path("/tmp/answered")  # noqa: S108 - the readiness probe looks here; a container has a /tmp of its own
SEASONS = {"Lisbon": "May", "Reykjavik": "July", "Tokyo": "April, for the cherry blossoms"}


@tool
def best_month(destination: str) -> str:
    """Say when to travel to a destination."""
    return SEASONS.get(destination, "any month that suits you")


def respond(messages: list[Message], tools: list[dict[str, object]]) -> ModelResponse | str:
    """Stand in for a language model, so that the example needs no key: answers from the conversation alone."""
    *earlier, question = [each.content or "" for each in messages if each.role is Role.USER]
    if destination := find_destination(question):
        if messages[-1].role is not Role.TOOL:
            return tool_call("best_month", destination=destination)
        return f"{destination}! The best time is {messages[-1].content}. How many days do you have?"
    for told in reversed(earlier):
        if destination := find_destination(told):
            return f'Your trip to {destination}. You told me: "{told}"'
    return "I don't know: you have not told me anything yet."


def find_destination(message: str) -> str | None:
    """Return the first known place that a message names."""
    return next((name for name in SEASONS if name in message), None)


def make_agent(store: str | None = None) -> Agent:
    """Make the agent. Write `model="openai:..."` or `model="oci:..."` for a real one: nothing else changes.

    Args:
        store: Which of several stores that the pod has; by default the first, or only, one.
    """
    return Agent(
        model=FunctionModel(respond),
        tools=[best_month],
        # Finds the bound store. The agent saves after every iteration, and loads before it answers.
        checkpointer=locus_memory.checkpointer(store),
        context_window=8192,
    )


def main() -> None:
    """Answer the message in the environment, then live on like a real deployment until SIGTERM."""
    # Blocked rather than handled: an answer that is under way is finished and saved first.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    message = os.environ["MESSAGE"]
    answer = make_agent().run_sync(message, thread_id=os.environ["THREAD_ID"])
    print(f"user:  {message}")
    print(f"agent: {answer.text}", flush=True)
    ANSWERED.touch()
    signal.sigwait({signal.SIGTERM})


if __name__ == "__main__":
    main()
