"""What is compared: raw drivers, locus-sdk's checkpointers, LangGraph's savers, and this library.

Each contender gets the same conversation in the form that it takes, and saves a new checkpoint each time.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from typing import Any, Literal

from locus.core.state import AgentState

Role = Literal["raw", "floor", "peer", "ours", "saver", "variant"]
"""What figures are compared as; `floor` is a raw driver that also turns the state into bytes and back, `saver` is
our saver for LangGraph, `variant` ours with other settings, for information."""


CLIENTS = 8
"""Concurrent callers in the measurement of throughput."""


class Contender(ABC):
    """Saves and loads the conversation under a thread id; `role` says what its figures are compared as."""

    name: str
    role: Role

    def __init__(self, state: AgentState) -> None:
        self.state = state

    @abstractmethod
    async def open(self) -> None:
        """Connect, and create what is needed."""

    @abstractmethod
    async def save(self, thread_id: str) -> None:
        """Save the conversation as a new checkpoint."""

    @abstractmethod
    async def load(self, thread_id: str) -> object | None:
        """Load the latest checkpoint."""

    @abstractmethod
    async def close(self) -> None:
        """Disconnect."""


class RawDriver(Contender):
    """A driver without a library around it."""

    def __init__(self, state: AgentState, driver: str, role: Literal["raw", "floor"]) -> None:
        super().__init__(state)
        self.name = f"raw {driver}" if role == "raw" else f"{driver} and pydantic"
        self.role = role
        self._data = state.model_dump_json().encode()

    def encoded(self) -> bytes:
        """Return the conversation as JSON: made beforehand for `raw`, and on each call for `floor`."""
        return self._data if self.role == "raw" else self.state.model_dump_json().encode()

    def decoded(self, data: Any) -> object:
        """Return what a caller of `load` wants: for `raw` the bytes alone."""
        return data if self.role == "raw" else AgentState.model_validate_json(data)


class Checkpointer(Contender):
    """Any checkpointer with locus-sdk's `save` and `load`: its own ones, and ours."""

    def __init__(self, state: AgentState, name: str, role: Role, checkpointer: Any) -> None:
        super().__init__(state)
        self.name, self.role = name, role
        self._checkpointer = checkpointer

    async def open(self) -> None:
        await self._checkpointer.save(self.state, "warm-up")

    async def save(self, thread_id: str) -> None:
        await self._checkpointer.save(self.state, thread_id)

    async def load(self, thread_id: str) -> object | None:
        loaded: object | None = await self._checkpointer.load(thread_id)
        return loaded

    async def close(self) -> None:
        await self._checkpointer.close()


class LangGraph(Contender):
    """A LangGraph saver: the conversation as one channel whose version changes with each checkpoint."""

    def __init__(self, state: AgentState, name: str, saver: Any, role: Role = "peer") -> None:
        super().__init__(state)
        self.name, self.role = name, role
        self._saver = saver
        self._messages = [message.model_dump(mode="json") for message in state.messages]
        self._numbers = itertools.count(1)

    async def open(self) -> None:
        if hasattr(self._saver, "setup"):
            await self._saver.setup()

    async def save(self, thread_id: str) -> None:
        from langgraph.checkpoint.base import empty_checkpoint

        version = f"{next(self._numbers):032}.0"
        checkpoint = empty_checkpoint()
        checkpoint["channel_values"] = {"messages": self._messages}
        checkpoint["channel_versions"] = {"messages": version}
        await self._saver.aput(
            {"configurable": {"thread_id": thread_id, "checkpoint_ns": ""}}, checkpoint, {}, {"messages": version}
        )

    async def load(self, thread_id: str) -> object | None:
        loaded: object | None = await self._saver.aget_tuple({"configurable": {"thread_id": thread_id}})
        return loaded

    async def close(self) -> None:
        """The saver's connections are closed by whoever made them."""
