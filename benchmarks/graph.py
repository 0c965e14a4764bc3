"""A LangGraph graph of many steps: what its savers store for it."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypedDict

from langgraph.graph import END, START, StateGraph
from locus.core.state import AgentState

STEPS = 200
OUR_SAVER = "locus-memory for LangGraph"


class GraphState(TypedDict):
    """A conversation that grows with each step, a document that stays as it is, and a counter."""

    messages: Annotated[list[dict[str, Any]], operator.add]
    document: str
    step: int


async def stored_bytes(
    savers: Mapping[str, Any], conversation: AgentState, size_of: Callable[[str], int]
) -> dict[str, int]:
    """Run the graph on each saver; return the bytes that it takes then.

    Args:
        savers: By name.
        conversation: Its messages are what the graph's steps say, one after the other.
        size_of: Returns what a saver, by its name, has stored.
    """
    said = [message.model_dump(mode="json") for message in conversation.messages]

    def speak(state: GraphState) -> dict[str, Any]:
        return {"messages": [said[state["step"] % len(said)]], "step": state["step"] + 1}

    def more(state: GraphState) -> str:
        return "speak" if state["step"] < STEPS else END

    builder = StateGraph(GraphState)
    builder.add_node("speak", speak)
    builder.add_edge(START, "speak")
    builder.add_conditional_edges("speak", more, ["speak", END])
    start: Any = {"messages": [], "document": " ".join(str(each["content"]) for each in said), "step": 0}
    sizes = {}
    for name, saver in savers.items():
        graph = builder.compile(checkpointer=saver)
        config: Any = {"configurable": {"thread_id": "graph"}, "recursion_limit": STEPS + 10}
        result: Any = await graph.ainvoke(start, config)
        assert len(result["messages"]) == STEPS
        assert len([each async for each in saver.alist(config)]) == STEPS + 2
        sizes[name] = size_of(name)
    return sizes
