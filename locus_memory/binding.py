"""Finds the binding of a store, and reads it again when it changes.

A binding is a directory below `$SERVICE_BINDING_ROOT`, as the Service Binding specification projects it
(https://servicebinding.io), with the binding document in `connection.json`; or a URL in
`$LOCUS_CHECKPOINT_URL`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from locus_memory.connection import Connection, parse_document
from locus_memory.errors import BindingError, BindingNotFoundError
from locus_memory.urls import parse_url

ROOT_VARIABLE = "SERVICE_BINDING_ROOT"
STORE_VARIABLE = "LOCUS_CHECKPOINT_STORE"
URL_VARIABLE = "LOCUS_CHECKPOINT_URL"

DOCUMENT_FILE = "connection.json"
URI_FILE = "uri"
TYPE_FILE = "type"


class Binding(Protocol):
    """Where connection parameters come from."""

    @property
    def name(self) -> str:
        """Name of the store, or of the variable that holds the URL."""

    def connection(self) -> Connection:
        """Read the binding document as it is now."""


@dataclass(frozen=True, slots=True)
class DirectoryBinding:
    """A projected binding: files that the kubelet replaces when the Secret changes."""

    directory: Path

    @property
    def name(self) -> str:
        """Name of the store."""
        return self.directory.name

    def connection(self) -> Connection:
        """Read `connection.json`, or `uri` where a binding of another provider has only that.

        Raises:
            BindingError: Neither can be read or understood.
        """
        try:
            document = self.directory / DOCUMENT_FILE
            if document.is_file():
                return parse_document(document.read_bytes()).read_from(self.directory)
            uri = self.directory / URI_FILE
            if uri.is_file():
                return parse_url(uri.read_text().strip())
        except OSError as error:
            raise BindingError(f"binding {self.directory}: {error.strerror}") from error
        except BindingError as error:
            raise BindingError(f"binding {self.directory}: {error}") from error
        raise BindingError(f"binding {self.directory}: has neither {DOCUMENT_FILE} nor {URI_FILE}")


@dataclass(frozen=True, slots=True, repr=False)
class URLBinding:
    """A connection URL from the environment."""

    url: str
    name: str = URL_VARIABLE

    def connection(self) -> Connection:
        """Parse the URL.

        Raises:
            BindingError: The URL is no connection URL.
        """
        return parse_url(self.url)


def find_binding(store: str | None = None, environ: Mapping[str, str] | None = None) -> Binding:
    """Find the binding of a store.

    In this order: the argument, `$LOCUS_CHECKPOINT_STORE`, the only binding below `$SERVICE_BINDING_ROOT`,
    `$LOCUS_CHECKPOINT_URL`.

    Args:
        store: Name of the `CheckpointStore`.
        environ: Environment; the process's own by default.

    Raises:
        BindingNotFoundError: Nothing was found; the message says what was looked for and where.
        BindingError: Several bindings, and nothing says which.
    """
    environ = os.environ if environ is None else environ
    root = environ.get(ROOT_VARIABLE)
    name = store or environ.get(STORE_VARIABLE)
    url = environ.get(URL_VARIABLE)
    available = bindings_below(Path(root)) if root else []
    if name:
        chosen = [binding for binding in available if binding.name == name]
        if chosen:
            return chosen[0]
    elif len(available) == 1:
        return available[0]
    elif available:
        raise BindingError(
            f"several stores are bound ({', '.join(binding.name for binding in available)}): "
            f"pass a name or set ${STORE_VARIABLE}"
        )
    # A name that was asked for explicitly must not be answered with some other store.
    if url and not name:
        return URLBinding(url)
    raise BindingNotFoundError(_not_found(name, root, available, url))


def bindings_below(root: Path) -> list[DirectoryBinding]:
    """Return the bindings of a `$SERVICE_BINDING_ROOT`, ordered by name."""
    if not root.is_dir():
        return []
    # The specification: a directory without `type` is no binding. Names with a leading dot are the kubelet's.
    return [
        DirectoryBinding(path)
        for path in sorted(root.iterdir())
        if not path.name.startswith(".") and (path / TYPE_FILE).is_file()
    ]


def _not_found(name: str | None, root: str | None, available: list[DirectoryBinding], url: str | None) -> str:
    wanted = f"a binding of the store {name!r}" if name else "a binding"
    if root is None:
        where = f"${ROOT_VARIABLE} is not set"
    elif available:
        where = f"{root} holds only {', '.join(binding.name for binding in available)}"
    else:
        where = f"{root} holds no binding (a directory with a file named {TYPE_FILE})"
    hint = f"${URL_VARIABLE} is not set" if not url else f"${URL_VARIABLE} is not used for a named store"
    return (
        f"looked for {wanted}: {where}, and {hint}. "
        "In Kubernetes put the label memory.locus.dev/checkpoint-store: <store> on the pod; "
        f"elsewhere set {URL_VARIABLE}, for example to file:///var/lib/threads"
    )
