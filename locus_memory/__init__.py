"""Durable memory for AI agents.

import locus_memory

agent = Agent(model=..., tools=[...], checkpointer=locus_memory.checkpointer())
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Unpack

from locus_memory._version import __version__

# Before the functions of those names are defined: the first import of a submodule sets the package's attribute, so a
# later one would put the module in the function's place.
from locus_memory.checkpointer import BaseCheckpointer
from locus_memory.store import BaseStore

if TYPE_CHECKING:
    from locus_memory.adapter import AdapterOptions
    from locus_memory.store_face import StoreOptions

__all__ = ["BaseCheckpointer", "BaseStore", "__version__", "checkpointer", "store"]


def checkpointer(store: str | None = None, **options: Unpack[AdapterOptions]) -> BaseCheckpointer:
    """Make the checkpointer of the store that is bound to this process.

    Looked for, in this order: `store`, `$LOCUS_CHECKPOINT_STORE`, the only binding below
    `$SERVICE_BINDING_ROOT`, `$LOCUS_CHECKPOINT_URL`. Nothing is connected yet; a login or host that changes later
    is read again when the old one stops working.

    Args:
        store: Name of the `CheckpointStore`, where several are bound.
        options: `state_type`, `retry`, `compression`, `encryption_key`; see `locus_memory.adapter.AdapterOptions`.

    Raises:
        BindingNotFoundError: Nothing was found; the message says what was looked for and where.
        BindingError: A binding was found, but cannot be used.
        MissingDriverError: The driver of the backend is not installed.
    """
    # Imported here: `import locus_memory` alone stays cheap.
    from locus_memory.binding import find_binding
    from locus_memory.opening import open_checkpointer

    binding = find_binding(store)
    return open_checkpointer(binding, **options)


def store(name: str | None = None, **options: Unpack[StoreOptions]) -> BaseStore:
    """Make the cross-thread store that is bound to this process: key-value data that outlives conversations.

    It is found as `checkpointer` finds its store, and its items live beside the checkpoints there.

    Args:
        name: Name of the `CheckpointStore`, where several are bound.
        options: `dimension`, `ttl_seconds`, `retry`, `compression`, `encryption_key`; see
            `locus_memory.store_face.StoreOptions`.

    Raises:
        BindingNotFoundError: Nothing was found; the message says what was looked for and where.
        BindingError: A binding was found, but cannot be used; some backends have no cross-thread store.
        MissingDriverError: The driver of the backend is not installed.
    """
    # Imported here: `import locus_memory` alone stays cheap.
    from locus_memory.binding import find_binding
    from locus_memory.opening import open_store

    return open_store(find_binding(name), **options)


def __getattr__(name: str) -> ModuleType:
    """Import `locus_memory.langgraph` when it is first used: it needs LangGraph, which most agents do without."""
    if name == "langgraph":
        return importlib.import_module("locus_memory.langgraph")
    raise AttributeError(f"module 'locus_memory' has no attribute {name!r}")
