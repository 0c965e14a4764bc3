"""Language models that answer the same every time, and remember what they were asked."""

import json
import re
from collections.abc import Callable
from typing import Any

Data = dict[str, Any]
Answer = Callable[[Data], Any]


def statements(data: Data) -> Any:
    """Make a fact of every new sentence of the user that begins with `I`."""
    return {
        "facts": [
            {"type": "user", "content": f"The user said: {sentence.strip()}", "sources": [message["number"]]}
            for message in data["messages"]
            if message["new"] and message["role"] == "user"
            for sentence in re.findall(r"\bI [^.]+", message["text"])
        ]
    }


def add_all(data: Data) -> Any:
    """Add every fact."""
    return {"decisions": [{"action": "add", "fact": fact["number"]} for fact in data["facts"]]}


class Scripted:
    """Answers as two functions say; `asked` holds instructions and data."""

    def __init__(self, extract: Answer = statements, decide: Answer = add_all) -> None:
        self.extract = extract
        self.decide = decide
        self.asked: list[tuple[str, Data]] = []

    async def __call__(self, instructions: str, data: str) -> str:
        read = json.loads(data)
        self.asked.append((instructions, read))
        answer = self.decide(read) if "facts" in read else self.extract(read)
        return answer if isinstance(answer, str) else json.dumps(answer)


def update_first(content: str) -> Answer:
    """Replace the first memory by this because of the first fact."""
    return lambda data: {"decisions": [{"action": "update", "fact": 1, "memory": 1, "content": content}]}


def delete_first(data: Data) -> Any:
    """Delete the first memory because of the first fact."""
    return {"decisions": [{"action": "delete", "fact": 1, "memory": 1}]}


def user(text: str) -> Data:
    """Write a message of the user."""
    return {"role": "user", "content": text}


def assistant(text: str) -> Data:
    """Write a message of the assistant."""
    return {"role": "assistant", "content": text}
