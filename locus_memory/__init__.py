"""Durable memory for AI agents.

import locus_memory

agent = Agent(model=..., tools=[...], checkpointer=locus_memory.checkpointer())
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from locus_memory._version import __version__

# Before the function of that name is defined: the first import of a submodule sets the package's attribute, so a
# later one would put the module in the function's place.
from locus_memory.checkpointer import BaseCheckpointer

if TYPE_CHECKING:
    from locus_memory.retry import RetryPolicy

__all__ = ["BaseCheckpointer", "__version__", "checkpointer"]


def checkpointer(
    store: str | None = None,
    *,
    state_type: Any = None,
    retry: RetryPolicy | None = None,
    compression: bool | None = None,
) -> BaseCheckpointer:
    """Make the checkpointer of the store that is bound to this process.

    Looked for, in this order: `store`, `$LOCUS_CHECKPOINT_STORE`, the only binding below
    `$SERVICE_BINDING_ROOT`, `$LOCUS_CHECKPOINT_URL`. Nothing is connected yet; a login or host that changes later
    is read again when the old one stops working.

    Args:
        store: Name of the `CheckpointStore`, where several are bound.
        state_type: What `load` returns; by default locus-sdk's `AgentState` where that is installed and was
            saved, else `dict`. See `locus_memory.codec.StateCodec`.
        retry: How long a call may take, and its pauses; 10 seconds by default.
        compression: Compress states of 1 KiB and more; by default everywhere but in files, which are meant to be read.

    Raises:
        BindingNotFoundError: Nothing was found; the message says what was looked for and where.
        BindingError: A binding was found, but cannot be used.
        MissingDriverError: The driver of the backend is not installed.
    """
    # Imported here: `import locus_memory` alone stays cheap.
    from locus_memory.binding import find_binding
    from locus_memory.opening import open_checkpointer

    binding = find_binding(store)
    return open_checkpointer(binding, state_type=state_type, retry=retry, compression=compression)
