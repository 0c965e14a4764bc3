"""The binding Secret: what agents get, in the form of the Service Binding specification."""

from __future__ import annotations

import hashlib
import json
import secrets
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from locus_memory.binding import DOCUMENT_FILE, TYPE_FILE
from locus_memory.connection import Connection, Retention
from locus_operator.api import CheckpointStoreSpec
from locus_operator.constants import BINDING_TYPE_PREFIX, PROVIDER
from locus_operator.service_binding import well_known_entries

_KINDS: Final = (string.ascii_lowercase, string.ascii_uppercase, string.digits, "-_")


@dataclass(frozen=True, slots=True)
class PasswordPolicy:
    """What passwords a backend takes. All are random letters, digits, `-` and `_`.

    Attributes:
        length: Characters, 6 bits of entropy each.
        of_each_kind: At least so many lower-case letters, upper-case letters, digits, and `-` or `_`.
    """

    length: int = 43
    of_each_kind: int = 0

    def generate(self) -> str:
        """Return a new password."""
        while not self.accepts(password := "".join(secrets.choice("".join(_KINDS)) for _ in range(self.length))):
            pass
        return password

    def accepts(self, password: str) -> bool:
        """Tell whether a password can be one of ours: somebody may have edited the Secret."""
        counts = [sum(character in kind for character in password) for kind in _KINDS]
        return len(password) == self.length == sum(counts) and min(counts) >= self.of_each_kind


@dataclass(frozen=True, slots=True)
class Binding:
    """Content of the binding Secret.

    Attributes:
        type: The binding document's type, such as `postgresql`.
        data: Entries of the Secret, not yet base64-encoded.
    """

    type: str
    data: Mapping[str, str] = field(repr=False)

    @property
    def secret_type(self) -> str:
        """The Secret's own type."""
        return BINDING_TYPE_PREFIX + self.type

    @property
    def digest(self) -> str:
        """Hash of type and data: the same for the same content, and telling nothing about it."""
        content = json.dumps([self.type, dict(self.data)], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()


def binding_of(connection: Connection, files: Mapping[str, str] | None = None) -> Binding:
    """Write a binding document out as the entries of a Secret.

    Args:
        connection: The document.
        files: Further entries, by the names of the files that they become.
    """
    document = json.dumps(connection.document(), sort_keys=True, ensure_ascii=False)
    entries = {
        **(files or {}),
        TYPE_FILE: connection.type,
        "provider": PROVIDER,
        **well_known_entries(connection),
        DOCUMENT_FILE: document,
    }
    return Binding(connection.type, {key: value for key, value in entries.items() if value is not None})


def retention_of(spec: CheckpointStoreSpec) -> Retention | None:
    """Return the retention rules as the binding document tells them to the library."""
    max_age, count = spec.retention.max_age, spec.retention.max_checkpoints_per_thread
    if max_age is None and count is None:
        return None
    return Retention(max_age_seconds=max_age.seconds if max_age else None, max_checkpoints_per_thread=count)


def password_for(
    logins: tuple[str, ...],
    connection_type: str,
    existing: Mapping[str, str] | None,
    policy: PasswordPolicy = PasswordPolicy(),
) -> str:
    """Return the password that the login of a binding shall have: the one that agents have already, if any.

    Args:
        logins: Names of the store's logins.
        connection_type: Type of the binding document.
        existing: Data of the binding Secret, if there is one.
        policy: What the backend takes.
    """
    if existing and existing.get(TYPE_FILE) == connection_type and existing.get("username") in logins:
        password = existing.get("password", "")
        if policy.accepts(password):
            return password
    return policy.generate()
