"""Opens the checkpointer that a binding describes."""

from __future__ import annotations

import importlib
from typing import Unpack

from locus_memory.adapter import AdapterOptions
from locus_memory.binding import Binding
from locus_memory.checkpointer import BaseCheckpointer
from locus_memory.errors import BindingError


def open_checkpointer(binding: Binding, **options: Unpack[AdapterOptions]) -> BaseCheckpointer:
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
    if options.get("encryption_key") is None and connection.encryption_keys:
        options["encryption_key"] = lambda: _keys(binding)
    opened: BaseCheckpointer = backend.from_connection(binding.connection, **options)
    return opened


def _keys(binding: Binding) -> list[str]:
    return [key.get_secret_value() for key in binding.connection().encryption_keys or ()]
