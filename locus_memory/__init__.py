"""Durable memory for AI agents.

import locus_memory

agent = Agent(model=..., tools=[...], checkpointer=locus_memory.checkpointer())
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from locus_memory._version import __version__

# Before the function of that name is defined: the first import of a submodule sets the package's attribute, so a
# later one would put the module in the function's place.
from locus_memory.checkpointer import BaseCheckpointer

if TYPE_CHECKING:
    from locus_memory.adapter import AdapterOptions

__all__ = ["BaseCheckpointer", "__version__", "checkpointer"]


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
