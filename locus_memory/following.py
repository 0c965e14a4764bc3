"""What backends share that reach their storage through clients which a binding document describes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

DocumentT = TypeVar("DocumentT")
DocumentInT = TypeVar("DocumentInT", contravariant=True)


class Clients(Protocol[DocumentInT]):
    """Clients of one backend, one for each event loop."""

    @property
    def version(self) -> int:
        """How often they have changed."""

    def use(self, connection: DocumentInT, /) -> None:
        """Take another document for the clients to come, if it differs."""

    async def close(self) -> None:
        """Close the running loop's client."""


ClientsT = TypeVar("ClientsT", bound=Clients[Any])


class FollowsDocument(Generic[DocumentT]):
    """Follows a binding document that changes: a base class beside `StorageBackend` or `StoreBackend`."""

    _source: Callable[[], DocumentT]
    _followers: Clients[DocumentT]

    def _follow(
        self, connection: DocumentT | Callable[[], DocumentT], make_clients: Callable[[DocumentT], ClientsT]
    ) -> ClientsT:
        """Make clients that follow a document.

        Args:
            connection: The document, or a function that returns it as it is now.
            make_clients: Makes them, without connecting.
        """
        self._source = connection if callable(connection) else lambda: connection
        self._followers = clients = make_clients(self._source())
        return clients

    @property
    def connection_version(self) -> int:
        """How often the connection parameters have changed."""
        return self._followers.version

    async def refresh(self) -> None:
        """Read the connection parameters again; where they changed, later calls use the new ones."""
        # The source may be a file on a slow volume.
        self._followers.use(await asyncio.to_thread(self._source))

    async def close(self) -> None:
        """Release what the running event loop holds. Idempotent; a later call reopens."""
        await self._followers.close()
