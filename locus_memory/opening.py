"""Opens the checkpointer that a binding describes."""

from __future__ import annotations

import importlib
from typing import Any

from locus_memory.binding import Binding
from locus_memory.checkpointer import BaseCheckpointer
from locus_memory.errors import BindingError
from locus_memory.retry import RetryPolicy


def open_checkpointer(
    binding: Binding, *, state_type: Any = None, retry: RetryPolicy | None = None, compression: bool | None = None
) -> BaseCheckpointer:
    """Make the checkpointer of a binding; see `locus_memory.checkpointer`.

    The backend of type `some-type` is the module `locus_memory.backends.some_type`, found by that convention, so
    that adding one changes nothing here.
    """
    connection = binding.connection()
    name = f"locus_memory.backends.{connection.type.replace('-', '_')}"
    try:
        backend = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise BindingError(
            f"binding {binding.name!r} is of type {connection.type!r}, which this version of locus-memory has no "
            "backend for: install a newer one"
        ) from None
    # Whether to compress by default is the backend's to say: files are meant to be read.
    options = {} if compression is None else {"compression": compression}
    opened: BaseCheckpointer = backend.from_connection(
        binding.connection, state_type=state_type, retry=retry, **options
    )
    return opened
