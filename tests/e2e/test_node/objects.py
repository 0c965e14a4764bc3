"""Secrets, ConfigMaps, claims and Services as pods use them, from watched copies."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.e2e.test_node.cluster import Cluster, Object, Reflector

COLLECTIONS = {
    "secret": "/api/v1/secrets",
    "configmap": "/api/v1/configmaps",
    "claim": "/api/v1/persistentvolumeclaims",
    "volume": "/api/v1/persistentvolumes",
    "service": "/api/v1/services",
}


class MissingError(Exception):
    """Something that a pod needs is not there (yet); the message is what the pod's status will say."""


class ObjectStore:
    """The objects that pods refer to."""

    def __init__(self, cluster: Cluster) -> None:
        self._change = asyncio.Event()
        self._reflectors = {
            kind: Reflector(cluster, path, lambda _kind, _item: self.notify()) for kind, path in COLLECTIONS.items()
        }

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Keep the copies current inside the block; they are complete when it is entered."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(reflector.run()) for reflector in self._reflectors.values()]
            for reflector in self._reflectors.values():
                await reflector.synced.wait()
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()

    def notify(self) -> None:
        """Wake everybody who waits in `changed`."""
        self._change.set()
        self._change = asyncio.Event()

    async def changed(self) -> None:
        """Wait for the next change of any object."""
        await self._change.wait()

    def all(self, kind: str) -> list[Object]:
        """Return every object of ``kind``, a key of `COLLECTIONS`."""
        return list(self._reflectors[kind].objects.values())

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """Return one object, or None."""
        return self._reflectors[kind].objects.get((namespace, name))

    def data(self, kind: str, namespace: str, name: str) -> dict[str, bytes] | None:
        """Return the content of a ``secret`` or ``configmap`` by key, or None if it does not exist."""
        item = self.get(kind, namespace, name)
        if item is None:
            return None
        plain = item.get("data") or {}
        if kind == "secret":
            return {key: base64.b64decode(value or "") for key, value in plain.items()}
        binary = {key: base64.b64decode(value) for key, value in (item.get("binaryData") or {}).items()}
        return {key: value.encode() for key, value in plain.items()} | binary
