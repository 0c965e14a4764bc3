"""Imports drivers when they are first used, so that `import locus_memory` pulls in none."""

from __future__ import annotations

import importlib
from types import ModuleType

from locus_memory.errors import MissingDriverError


def require(module: str, extra: str) -> ModuleType:
    """Import a module that an extra of this distribution installs.

    Raises:
        MissingDriverError: It is not installed; the message is the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        raise MissingDriverError(module, extra) from error
