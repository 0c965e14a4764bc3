"""A program with a compiled LangGraph graph that waits for a person; its saver comes from the environment.

python -m tests.contract.travel_graph ask <thread>               run until the person is asked
python -m tests.contract.travel_graph answer <thread> <text>     go on with the person's answer, in whatever process
"""

import json
import operator
import sys
from typing import Annotated, Any, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

from locus_memory.langgraph import saver
from tests.emulators.oracle_switch import install_if_asked


class State(TypedDict):
    """What the nodes hand on."""

    log: Annotated[list[str], operator.add]
    city: str


def plan(state: State) -> dict[str, Any]:
    return {"log": ["planned"], "city": "Tokyo"}


def confirm(state: State) -> dict[str, Any]:
    answer = interrupt({"question": f"Book {state['city']}?"})
    return {"log": [f"confirmed: {answer}"]}


def book(state: State) -> dict[str, Any]:
    return {"log": [f"booked {state['city']}"]}


def main(command: str, thread_id: str, *answer: str) -> None:
    """Run the graph once, and print what it returned as JSON."""
    install_if_asked()
    builder = StateGraph(State)
    builder.add_node("plan", plan)
    builder.add_node("confirm", confirm)
    builder.add_node("book", book)
    for start, end in ((START, "plan"), ("plan", "confirm"), ("confirm", "book"), ("book", END)):
        builder.add_edge(start, end)
    checkpointer = saver()
    graph = builder.compile(checkpointer=checkpointer)
    given: Any = Command(resume=answer[0]) if command == "answer" else {"log": [], "city": ""}
    result = graph.invoke(given, {"configurable": {"thread_id": thread_id}})
    asked = [each.value for each in result.pop("__interrupt__", ())]
    checkpointer.close()
    print(json.dumps(result | {"asked": asked}))


if __name__ == "__main__":
    main(*sys.argv[1:])
