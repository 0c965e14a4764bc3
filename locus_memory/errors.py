"""Every error that this library raises, as one small tree.

Each error says through `retryable` whether the same call may succeed later without a change by the
caller; the backend's own error is its `__cause__`. An outage is always an error: it is never answered with
`None` or with an empty list.
"""

from __future__ import annotations

from typing import ClassVar


class CheckpointError(Exception):
    """Base of all errors of `locus_memory`."""

    retryable: ClassVar[bool] = False


class BackendUnavailableError(CheckpointError):
    """The backend cannot be reached, does not answer in time, or refuses work for the moment."""

    retryable = True


class AuthenticationError(CheckpointError):
    """The backend rejects the login, or the login lacks a privilege that the call needs."""


class CheckpointConflictError(CheckpointError):
    """Another writer was faster, or the destination of a copy exists already."""


class CorruptCheckpointError(CheckpointError):
    """What is stored cannot be read back as a state; nothing was changed."""


class UnknownEncryptionKeyError(CorruptCheckpointError):
    """A checkpoint is encrypted with a key that is not among those given."""


class MissingPartsError(CheckpointError):
    """A checkpoint refers to parts that are not stored any more; nothing was written. Savers then send them again."""


class StateTooLargeError(CheckpointError):
    """The state exceeds what this library or the backend accepts; nothing was written."""


class InvalidStateError(CheckpointError, TypeError):
    """The state cannot be represented as JSON text in UTF-8; nothing was written."""


class InvalidArgumentError(CheckpointError, ValueError):
    """An argument is outside its documented bounds; nothing was done."""


class MemoryModelError(CheckpointError):
    """A language model, or what embeds for it, failed or gave no valid answer; what is stored is as it was."""

    retryable = True


class SchemaError(CheckpointError):
    """The backend lacks the tables, or has them in a version that this library does not know."""


class CapabilityNotSupportedError(CheckpointError, NotImplementedError):
    """The backend does not have the named capability."""

    def __init__(self, backend: str, capability: str, face: str = "checkpointer") -> None:
        self.capability = capability
        hint = f"; test `{face}.capabilities.{capability}` first" if face else ""
        super().__init__(f"{backend} has no capability {capability!r}{hint}")


class MissingDriverError(CheckpointError, ImportError):
    """The driver of a backend is not installed."""

    def __init__(self, module: str, extra: str) -> None:
        super().__init__(f'{module} is not installed: pip install "locus-memory[{extra}]"')


class BindingError(CheckpointError):
    """A binding or a connection URL cannot be used as it is."""


class BindingNotFoundError(BindingError):
    """No binding was found in any of the places that were looked at."""
