"""What the commands end with: the one place where exit codes are decided and described."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from locus_memory.errors import (
    AuthenticationError,
    BackendUnavailableError,
    BindingError,
    CapabilityNotSupportedError,
    CheckpointConflictError,
    InvalidArgumentError,
    MissingDriverError,
    SchemaError,
)


class ExitCode(IntEnum):
    """Exit codes, the same for all commands."""

    OK = 0
    FAILED = 1
    USAGE = 2
    BINDING = 3
    UNAVAILABLE = 4
    REFUSED = 5
    CONFLICT = 6
    NOT_FOUND = 7
    INTERRUPTED = 130
    TERMINATED = 143


MEANINGS: Final = {
    ExitCode.OK: "done",
    ExitCode.FAILED: "a check or a verification failed, stored data is damaged, or an unexpected error",
    ExitCode.USAGE: "the command line is wrong, or asks for what this backend cannot do; nothing was done",
    ExitCode.BINDING: "no binding was found, or the one that was found cannot be used",
    ExitCode.UNAVAILABLE: "the backend is away or too slow: the same command may work later",
    ExitCode.REFUSED: "the backend rejects the login, a privilege is missing, or the tables are",
    ExitCode.CONFLICT: "the destination holds something else; it was left alone",
    ExitCode.NOT_FOUND: "there is no such thread or checkpoint",
    ExitCode.INTERRUPTED: "stopped by Ctrl-C; what was done is whole, and the same command goes on",
    ExitCode.TERMINATED: "the same, by SIGTERM",
}
"""For the documentation, and for `--help`."""

# The first that fits: more special classes stand before the ones they derive from.
_OF_ERRORS: Final = (
    (CapabilityNotSupportedError, ExitCode.USAGE),
    (InvalidArgumentError, ExitCode.USAGE),
    (BindingError, ExitCode.BINDING),
    (MissingDriverError, ExitCode.BINDING),
    (BackendUnavailableError, ExitCode.UNAVAILABLE),
    (AuthenticationError, ExitCode.REFUSED),
    (SchemaError, ExitCode.REFUSED),
    (CheckpointConflictError, ExitCode.CONFLICT),
)


def exit_code_of(error: Exception) -> ExitCode:
    """Return what a command that fails with this error ends with."""
    return next((code for kind, code in _OF_ERRORS if isinstance(error, kind)), ExitCode.FAILED)


EPILOG: Final = "Exit codes: " + "; ".join(f"{code.value} {meaning}" for code, meaning in MEANINGS.items()) + "."
