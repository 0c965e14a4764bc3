"""What OpenSearch's refusals mean to a caller."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from locus_memory.errors import (
    AuthenticationError,
    BackendUnavailableError,
    CheckpointError,
    SchemaError,
    StateTooLargeError,
)

if TYPE_CHECKING:
    from opensearchpy import TransportError

INDEX_MISSING: Final = "index_not_found_exception"
INDEX_EXISTS: Final = "resource_already_exists_exception"
_CONFLICT_STATUS: Final = 409

# Refused because of what the request holds, whatever state the server is in.
_TOO_LONG = ("exceeds the maximum length", "exceeds the maximum allowed", "immense term")


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error as the server describes it, of a request or of one item of a bulk or multi-get request."""

    status: int
    kind: str
    reason: str
    cause: Exception | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of_answer(cls, cause: TransportError) -> Refusal:
        """Read the answer to a refused request; a proxy in front may have written it."""
        status, text = int(cause.status_code), str(cause.error)
        body: Any = None
        with contextlib.suppress(ValueError):
            body = json.loads(text)
        error = body.get("error") if isinstance(body, dict) else None
        if isinstance(error, dict):
            return cls(status, str(error.get("type", "")), str(error.get("reason", ""))[:500], cause)
        return cls(status, "", str(error or text)[:500], cause)

    @classmethod
    def of_item(cls, status: int, error: dict[str, Any]) -> Refusal:
        """Read the error of one item."""
        return cls(status, str(error.get("type", "")), str(error.get("reason", ""))[:500])

    @property
    def is_conflict(self) -> bool:
        """Whether somebody else wrote the document meanwhile, or it is not there to be updated any more."""
        return self.status == _CONFLICT_STATUS or self.kind == "document_missing_exception"

    def translated(self, where: str, login: str) -> CheckpointError:
        """Make the error to raise.

        Args:
            where: The server and the index.
            login: Who asked.
        """
        error = self._translated(where, login)
        error.__cause__ = self.cause
        return error

    def _translated(self, where: str, login: str) -> CheckpointError:
        text = f"{where}: {self.kind or self.status}: {self.reason}".rstrip(": ")
        if self.status == 401:
            return AuthenticationError(f"{where}: the login {login!r} is rejected: {self.reason}")
        if self.kind == "cluster_block_exception":
            # Over a disk's flood stage the server makes indexes read-only; versions differ in the status of that.
            return BackendUnavailableError(f"{text}. Is a disk of the cluster full, or the index read-only?")
        if self.status == 403:
            return AuthenticationError(f"{where}: the login {login!r} lacks a privilege: {self.reason}")
        if self.status == 413:
            return StateTooLargeError(
                f"{where}: the request is too large: raise the server's http.max_content_length, 100mb by default"
            )
        if self.kind == INDEX_MISSING:
            return SchemaError(f"{where}: the index is missing: create it, or let the connection say tables: auto")
        if self.status == 400 and any(words in self.reason for words in _TOO_LONG):
            return StateTooLargeError(text)
        if self.status == 429 or self.status >= 500:
            return BackendUnavailableError(text)
        return CheckpointError(text)
