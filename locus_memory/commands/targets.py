"""Which store a command works on, and how it was found."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from locus_memory.adapter import StorageBackendAdapter
from locus_memory.binding import (
    ROOT_VARIABLE,
    STORE_VARIABLE,
    URL_VARIABLE,
    Binding,
    DirectoryBinding,
    URLBinding,
    bindings_below,
    find_binding,
)
from locus_memory.errors import BindingError, InvalidArgumentError
from locus_memory.opening import open_checkpointer
from locus_memory.retry import RetryPolicy

_FILE: Final = "@"
_VARIABLE: Final = "env:"
_STORE: Final = "store:"

URL_FORMS: Final = "a URL, @FILE, env:VARIABLE or store:NAME; arguments are public, so write no password there"


@dataclass(frozen=True, slots=True)
class Target:
    """A store that was found.

    Attributes:
        binding: Where its connection parameters come from.
        origin: Where that was found, for people; no secrets.
    """

    binding: Binding
    origin: str

    def open(self, timeout: float) -> StorageBackendAdapter:
        """Make its checkpointer; nothing is connected yet.

        Args:
            timeout: Seconds that each call may take, retries included.

        Raises:
            BindingError: The binding cannot be used.
            MissingDriverError: The driver is not installed.
        """
        opened = open_checkpointer(self.binding, retry=RetryPolicy(deadline=timeout))
        if not isinstance(opened, StorageBackendAdapter):
            raise BindingError(
                f"a store of type {type(opened).__name__} has no storage that this command can look into"
            )
        return opened


def find_target(store: str | None, url: str | None) -> Target:
    """Find the store of `--store` and `--url`, or the one that is bound to this process.

    Raises:
        InvalidArgumentError: Both are given, or the URL's file or variable is not there.
        BindingNotFoundError: Nothing was found.
        BindingError: Several bindings, and nothing says which.
    """
    if store and url:
        raise InvalidArgumentError("--store and --url: write one of them")
    if url:
        return target_of(url, "--url")
    binding = find_binding(store)
    if isinstance(binding, DirectoryBinding):
        return Target(binding, str(binding.directory))
    return Target(binding, f"${binding.name}")


def target_of(text: str, option: str) -> Target:
    """Find the store that a URL, or one of the other `URL_FORMS`, means.

    Raises:
        InvalidArgumentError: The file or variable is not there.
        BindingNotFoundError: There is no store of that name.
    """
    if text.startswith(_STORE):
        return find_target(text.removeprefix(_STORE), None)
    if text.startswith(_FILE):
        path = Path(text.removeprefix(_FILE))
        try:
            return Target(URLBinding(path.read_text().strip(), option), f"{option}, the file {path}")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidArgumentError(
                f"{option}: {path}: {getattr(error, 'strerror', None) or 'is no text'}"
            ) from None
    if text.startswith(_VARIABLE):
        name = text.removeprefix(_VARIABLE)
        if not os.environ.get(name):
            raise InvalidArgumentError(f"{option}: the variable {name} is not set")
        return Target(URLBinding(os.environ[name], option), f"{option}, the variable ${name}")
    return Target(URLBinding(text, option), option)


def shows_password(text: str | None) -> bool:
    """Tell whether an argument is a URL with a password in it, which others on the machine can read."""
    if text is None or text.startswith((_STORE, _FILE, _VARIABLE)):
        return False
    try:
        parts = urlsplit(text)
        return bool(parts.password) or "password=" in parts.query or "encryption_keys=" in parts.query
    except ValueError:
        return "@" in text


def places_looked_at(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Describe what is in each of the places in which a binding is looked for, in their order."""
    environ = os.environ if environ is None else environ
    root, url = environ.get(ROOT_VARIABLE), environ.get(URL_VARIABLE)
    return {
        f"${STORE_VARIABLE}": environ.get(STORE_VARIABLE) or "not set",
        f"${ROOT_VARIABLE}": _described_root(Path(root)) if root else "not set",
        f"${URL_VARIABLE}": f"set, a URL of scheme {url.partition(':')[0]!r}" if url else "not set",
    }


def _described_root(root: Path) -> str:
    if not root.is_dir():
        return f"{root}, which is no directory"
    names = [binding.name for binding in bindings_below(root)]
    return f"{root}, with {'the bindings ' + ', '.join(names) if names else 'no binding in it'}"
