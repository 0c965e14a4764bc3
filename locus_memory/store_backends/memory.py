"""Cross-thread store of a binding of type `memory`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Unpack

from locus_memory.connection import MemoryConnection
from locus_memory.store_face import PortStore, StoreOptions
from locus_memory.store_memory import MemoryStoreBackend


def from_connection(source: Callable[[], MemoryConnection], **options: Unpack[StoreOptions]) -> PortStore:
    """Make an empty store in the memory of the process, with the options of every other one."""
    return PortStore(MemoryStoreBackend(), **options)
