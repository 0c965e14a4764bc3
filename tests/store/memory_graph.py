"""A program with a compiled LangGraph graph that remembers people; saver and store come from the environment.

python -m tests.store.memory_graph tell <person> <thread> <text>    remember a text, with the sync interface
python -m tests.store.memory_graph ask <person> <thread> <text>     recall what fits a text, with the async interface
"""

import asyncio
import json
import sys
from collections.abc import Sequence
from typing import Any, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime

from locus_memory.langgraph import saver, store


class Context(TypedDict):
    """Whom the graph talks to."""

    person: str


class State(TypedDict):
    """What the nodes hand on."""

    text: str
    known: list[str]


TOPICS = ("tea", "coffee", "train")


def embed(texts: Sequence[str]) -> list[list[float]]:
    """Count a few words, in the place of a model."""
    return [[0.1 + text.count(topic) for topic in TOPICS] for text in texts]


def remember(state: State, runtime: Runtime[Context]) -> dict[str, Any]:
    assert runtime.store is not None
    memories = ("people", runtime.context["person"])
    known = len(runtime.store.search(memories, limit=100))
    runtime.store.put(memories, f"memory {known}", {"text": state["text"]})
    return {"known": []}


async def recall(state: State, runtime: Runtime[Context]) -> dict[str, Any]:
    assert runtime.store is not None
    found = await runtime.store.asearch(("people", runtime.context["person"]), query=state["text"], limit=2)
    return {"known": [each.value["text"] for each in found]}


def main(command: str, person: str, thread_id: str, text: str) -> None:
    """Run the graph once, and print what is known as JSON."""
    node: Any = remember if command == "tell" else recall
    builder = StateGraph(State, context_schema=Context)
    builder.add_node("node", node)
    builder.add_edge(START, "node")
    builder.add_edge("node", END)
    memory = store(index={"dims": len(TOPICS), "embed": embed, "fields": ["text"]})
    checkpointer = saver()
    graph = builder.compile(checkpointer=checkpointer, store=memory)
    given: Any = {"text": text, "known": []}
    config: Any = {"configurable": {"thread_id": thread_id}}
    context: Context = {"person": person}
    if command == "tell":
        result = graph.invoke(given, config, context=context)
        checkpointer.close()
        memory.close()
    else:

        async def run() -> Any:
            answer = await graph.ainvoke(given, config, context=context)
            await checkpointer.aclose()
            await memory.aclose()
            return answer

        result = asyncio.run(run())
    print(json.dumps(result["known"]))


if __name__ == "__main__":
    main(*sys.argv[1:])
