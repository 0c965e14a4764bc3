"""An agent that remembers a person across conversations, and what changed about them.

    export LOCUS_CHECKPOINT_URL=postgresql://user:password@host:5432/database
    python examples/long_term_memory.py ada monday "I live in Lisbon. I prefer trains."
    python examples/long_term_memory.py ada tuesday "I moved to Porto."
    python examples/long_term_memory.py ada wednesday "What do you know about me?"
    python examples/long_term_memory.py ada --memories
    python examples/long_term_memory.py ada --forget

`redis://` and `oracle://` work alike. The thread is another one every day: what is known comes from the memory.
"""

import asyncio
import json
import re
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from locus.agent import Agent
from locus.core.messages import Message, Role
from locus.models.base import ModelProtocol
from locus.testing import FunctionModel

import locus_memory
from locus_memory.manager import LLMMemoryManager


def answers_of(model: ModelProtocol) -> Callable[[str, str], Awaitable[str]]:
    """Ask a model of locus-sdk: instructions as the system's message, what people said as data."""

    async def ask(instructions: str, data: str) -> str:
        response = await model.complete([Message.system(instructions), Message.user(data)])
        return response.message.content or ""

    return ask


def take_notes(messages: list[Message], tools: list[dict[str, object]]) -> str:
    """Stand in for a language model that keeps a memory, so that the example needs no key."""
    data: dict[str, Any] = json.loads(messages[-1].content or "")
    return json.dumps(decide(**data) if "facts" in data else extract(**data))


def extract(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """Note where somebody lives, and what they prefer."""
    patterns = {"user": ("lives in", r"I (?:live in|moved to) (\w+)"), "feedback": ("prefers", r"I prefer (\w+)")}
    facts = [
        {"type": kind, "content": f"The user {verb} {what}.", "sources": [message["number"]]}
        for message in messages
        if message["new"] and message["role"] == "user"
        for kind, (verb, pattern) in patterns.items()
        for what in re.findall(pattern, message["text"])
    ]
    return {"facts": facts}


def decide(memories: list[dict[str, Any]], facts: list[dict[str, Any]]) -> dict[str, Any]:
    """Let a new home take the place of the old one."""
    home = next((memory["number"] for memory in memories if "lives in" in memory["content"]), None)
    return {
        "decisions": [
            {"action": "update", "fact": fact["number"], "memory": home, "content": fact["content"]}
            if home is not None and "lives in" in fact["content"]
            else {"action": "add", "fact": fact["number"]}
            for fact in facts
        ]
    }


def converse(messages: list[Message], tools: list[dict[str, object]]) -> str:
    """Stand in for the agent's language model: tells what it was shown of the memory."""
    shown = [message.content or "" for message in messages if message.role is Role.SYSTEM]
    known = [json.loads(line)["memory"] for text in shown for line in text.splitlines() if line.startswith("{")]
    return " ".join(["Noted.", *sorted(known)])


def make_manager(person: str) -> LLMMemoryManager:
    """Make the memory of a person. Write `get_model("openai:...")` for a real model: nothing else changes."""
    return LLMMemoryManager(
        locus_memory.store(),
        answers_of(FunctionModel(take_notes)),
        namespace_prefix=("people", person),
        model_name="stand-in",
    )


async def main(person: str, thread_id: str, message: str = "") -> None:
    """Answer a message, or show or erase what is remembered."""
    manager = make_manager(person)
    async with manager.store:
        if thread_id == "--forget":
            print(f"forgot {await manager.forget_all()}")
        elif thread_id == "--memories":
            for memory in await manager.memories():
                print(memory.content, *[f"(before: {earlier.content})" for earlier in memory.history])
        else:
            agent = Agent(
                model=FunctionModel(converse),
                checkpointer=locus_memory.checkpointer(),
                memory_manager=manager,
                context_window=8192,
            )
            answer = await agent.arun(message, thread_id=thread_id, metadata={"thread_id": thread_id})
            print(answer.text)


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    asyncio.run(main(*sys.argv[1:]))
