"""Servers that take turns: calls go to whoever is in charge, and that is found out again whenever in doubt."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from redis.exceptions import MovedError, RedisError

from locus_memory.backends.redis_discovery import Discovery, Owners
from locus_memory.backends.redis_lua import Script
from locus_memory.backends.redis_node import Argument, Call, Node
from locus_memory.connection import HostAddress
from locus_memory.errors import BackendUnavailableError, CheckpointError

T = TypeVar("T")

_REDIRECTIONS = 5
_PATIENCE_SECONDS = 1.0
"""A call that takes longer asks whether its server is still in charge: a paused one never says that it is not."""


class Topology:
    """The servers below Sentinels or of a Cluster, for one event loop.

    redis-py has clients for both. Its Cluster client closes the connections of all callers on some redirections,
    follows ASK on another connection than the one that it announced itself on, and fails when all connections
    are in use; its Sentinel client goes on with connections to a primary that was replaced.
    """

    def __init__(self, discovery: Discovery) -> None:
        self._discovery = discovery
        self._owners = Owners(())
        self._version = 0
        self._in_doubt = True
        self._finding = asyncio.Lock()
        self._nodes: dict[HostAddress, Node] = {}
        self._found_at = 0.0
        self._background: set[asyncio.Task[None]] = set()

    async def run(self, script: Script, prefix: str, arguments: Sequence[Argument]) -> Any:
        """Run a script on a key space."""
        return await self._on_owner(prefix, lambda node: node.run(script, prefix, arguments))

    async def run_all(self, script: Script, calls: Sequence[Call]) -> list[Any]:
        """Run a script that only reads on several key spaces, in one round trip to each server."""
        if self._in_doubt:
            await self._find(self._version)
        groups: dict[HostAddress | None, list[int]] = {}
        for number, (prefix, _) in enumerate(calls):
            groups.setdefault(self._owners.owner(self._discovery.slot(prefix)), []).append(number)
        answers: list[Any] = [None] * len(calls)

        async def run_group(numbers: list[int]) -> None:
            group = [calls[number] for number in numbers]
            try:
                found = await self._on_owner(group[0][0], lambda node: node.run_all(script, group), redirections=0)
            except CheckpointError as error:
                if not isinstance(error.__cause__, MovedError):
                    raise
                # The slots of one server have just gone to several.
                found = [await self.run(script, *call) for call in group]
            for number, answer in zip(numbers, found, strict=True):
                answers[number] = answer

        outcomes = await asyncio.gather(*map(run_group, groups.values()), return_exceptions=True)
        for outcome in outcomes:
            if outcome is not None:
                raise outcome
        return answers

    async def ask(self, *command: Argument) -> Any:
        """Run a command that touches no key on one of the servers in charge."""
        return await self._on_owner("", lambda node: node.ask(*command))

    async def aclose(self) -> None:
        """Close all connections; a later call makes new ones."""
        nodes = list(self._nodes.values())
        self._nodes.clear()
        self._in_doubt = True
        for node in nodes:
            await node.aclose()
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self._discovery.aclose()

    async def _on_owner(
        self,
        prefix: str,
        call: Callable[[Node], Coroutine[Any, Any, T]],
        redirections: int = _REDIRECTIONS,
    ) -> T:
        slot = self._discovery.slot(prefix)
        while True:
            node = await self._node(slot)
            try:
                return await self._watched(call(node), slot, node)
            except CheckpointError as error:
                moved = error.__cause__
                if not isinstance(moved, MovedError):
                    self._in_doubt = self._in_doubt or error.retryable
                    raise
                await self._find(self._version, _moved_to(moved, node.address))
                if redirections == 0:
                    raise BackendUnavailableError(f"Redis Cluster: slot {slot} is moving: {moved}") from moved
                redirections -= 1
            except asyncio.CancelledError:
                # The deadline has passed, perhaps because of a server that will never answer.
                self._in_doubt = True
                raise

    async def _node(self, slot: int) -> Node:
        if self._in_doubt:
            await self._find(self._version)
        elif self._discovery.is_outdated(asyncio.get_running_loop().time() - self._found_at):
            self._found_at = asyncio.get_running_loop().time()
            self._in_background(self._find(self._version))
        address = self._owners.owner(slot)
        if address is None:
            self._in_doubt = True
            raise BackendUnavailableError(f"Redis Cluster: no server is in charge of slot {slot}")
        node = self._nodes.get(address)
        if node is None:
            node = self._nodes[address] = self._discovery.open(address)
        return node

    async def _watched(self, call: Coroutine[Any, Any, T], slot: int, node: Node) -> T:
        tasks: set[asyncio.Future[Any]] = {answer := asyncio.ensure_future(call)}
        try:
            while not (await asyncio.wait({answer}, timeout=_PATIENCE_SECONDS))[0]:
                tasks.add(doubt := asyncio.ensure_future(self._find(self._version)))
                await asyncio.wait({answer, doubt}, return_when=asyncio.FIRST_COMPLETED)
                # As long as nobody can say who is in charge, the answer may still come.
                known = doubt.done() and doubt.exception() is None
                if known and not answer.done() and self._owners.owner(slot) != node.address:
                    raise BackendUnavailableError(f"Redis at {node.address}: replaced before it answered")
            return answer.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _find(self, known_version: int, best: HostAddress | None = None) -> None:
        async with self._finding:
            if self._version != known_version:
                return  # Another caller had the same doubt, and has asked meanwhile.
            self._owners = await self._discovery.find(self._owners.addresses, best)
            self._version += 1
            self._in_doubt = False
            self._found_at = asyncio.get_running_loop().time()
            for address in self._nodes.keys() - self._owners.addresses:
                # It may be the one that does not answer.
                self._in_background(self._nodes.pop(address).aclose())

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        async def run() -> None:
            # A failure changes nothing: whoever meets its cause hears of it.
            with suppress(CheckpointError, RedisError, OSError):
                await work

        task = asyncio.create_task(run())
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def _moved_to(error: MovedError, asked: HostAddress) -> HostAddress:
    # Without a host it is another port of the same one.
    return HostAddress(host=error.host or asked.host, port=error.port)
