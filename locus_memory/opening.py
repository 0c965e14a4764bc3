"""Opens the checkpointer, or the cross-thread store, that a binding describes."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Unpack

from locus_memory.adapter import AdapterOptions
from locus_memory.binding import Binding
from locus_memory.checkpointer import BaseCheckpointer
from locus_memory.connection import Connection
from locus_memory.errors import BindingError
from locus_memory.store_face import PortStore, StoreOptions


def open_checkpointer(binding: Binding, **options: Unpack[AdapterOptions]) -> BaseCheckpointer:
    """Make the checkpointer of a binding; see `locus_memory.checkpointer`.

    The backend of type `some-type` is the module `locus_memory.backends.some_type`, found by that convention, so
    that adding one changes nothing here.
    """
    connection = binding.connection()
    backend = _module("backends", binding, connection, "no backend for: install a newer one")
    if options.get("encryption_key") is None and connection.encryption_keys:
        options["encryption_key"] = lambda: _keys(binding)
    opened: BaseCheckpointer = backend.from_connection(binding.connection, **options)
    return opened


def open_store(binding: Binding, **options: Unpack[StoreOptions]) -> PortStore:
    """Make the cross-thread store of a binding; see `locus_memory.store`.

    As with checkpointers, the one of type `some-type` is the module `locus_memory.store_backends.some_type`. Where the
    operator has provisioned it, its dimension is the default.

    Raises:
        BindingError: The backend has none; or the operator was not asked for one, or for another dimension.
    """
    connection = binding.connection()
    hint = "no cross-thread store for: bind one of type postgresql, redis or oracle beside it"
    backend = _module("store_backends", binding, connection, hint)
    _use_provisioned_dimension(binding.name, connection, options)
    if options.get("encryption_key") is None and connection.encryption_keys:
        options["encryption_key"] = lambda: _keys(binding)
    opened: PortStore = backend.from_connection(binding.connection, **options)
    return opened


def _use_provisioned_dimension(name: str, connection: Connection, options: StoreOptions) -> None:
    if connection.tables != "provisioned":
        return
    provisioned = connection.long_term_memory
    if provisioned is None:
        raise BindingError(
            f"binding {name!r} has no long-term memory: write spec.longTermMemory: {{enabled: true}} into its "
            "CheckpointStore, with embeddingDimension for embeddings"
        )
    dimension = options.setdefault("dimension", provisioned.embedding_dimension)
    if provisioned.embedding_dimension is not None and dimension not in (None, provisioned.embedding_dimension):
        raise BindingError(
            f"binding {name!r} was provisioned for embeddings of {provisioned.embedding_dimension} numbers, not "
            f"{dimension}: correct `dimension`, or embeddingDimension in spec.longTermMemory of its CheckpointStore"
        )


def _module(package: str, binding: Binding, connection: Connection, absent: str) -> ModuleType:
    name = f"locus_memory.{package}.{connection.type.replace('-', '_')}"
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise BindingError(
            f"binding {binding.name!r} is of type {connection.type!r}, which this version of locus-memory has {absent}"
        ) from None


def _keys(binding: Binding) -> list[str]:
    return [key.get_secret_value() for key in binding.connection().encryption_keys or ()]
