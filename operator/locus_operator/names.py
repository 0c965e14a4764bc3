"""Names that stores get on their backends: derived, so that nobody chooses them and two stores never meet."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from typing import Final

_PREFIX: Final = "locus"
_HASH_LENGTH: Final = 10  # base32, 50 bits: what remains of a collision is a Conflict, never shared data

POSTGRESQL_LIMIT: Final = 63
"""Bytes of a PostgreSQL identifier; longer ones are cut in silence."""
_LONGEST_SUFFIX: Final = len("_owner")


def derive_name(namespace: str, name: str, limit: int) -> str:
    """Return `locus_<namespace>_<name>` in letters, digits and `_`.

    Kubernetes names hold no `_`, so a name that needs no change has exactly two of them, never side by side.
    A name that was changed or cut ends in `__` and a hash of the original, hence equals no other store's.

    Args:
        namespace: The store's namespace.
        name: The store's name.
        limit: Characters that the backend allows, at least 20.
    """
    plain = f"{_PREFIX}_{namespace}_{name}"
    safe = re.sub(r"[^a-z0-9_]", "_", plain)
    if safe == plain and len(plain) <= limit:
        return plain
    digest = hashlib.sha256(f"{namespace}/{name}".encode()).digest()
    suffix = "__" + base64.b32encode(digest).decode().lower()[:_HASH_LENGTH]
    return safe[: limit - len(suffix)] + suffix


def key_prefix(namespace: str, name: str) -> str:
    """Return the prefix of a store's keys on Redis; no prefix is the beginning of another."""
    return f"{_PREFIX}:{namespace}:{name}:"


def volume_claim_name(name: str) -> str:
    """Return the name of the PersistentVolumeClaim of a `file` store; the webhook mounts it before it exists.

    Args:
        name: The store's name; the claim is in the store's namespace.
    """
    return f"{name}-checkpoints"


def files_directory(name: str) -> str:
    """Return where the volume of a `file` store is mounted in its pods.

    Args:
        name: The store's name.
    """
    return f"/var/lib/{_PREFIX}/{name}"


@dataclass(frozen=True, slots=True)
class RoleNames:
    """Roles or users of one store; all fit into 63 bytes.

    Attributes:
        base: The store's derived name; the default for its schema as well.
    """

    base: str

    @classmethod
    def of(cls, namespace: str, name: str) -> RoleNames:
        """Derive them from the store's namespace and name."""
        return cls(derive_name(namespace, name, POSTGRESQL_LIMIT - _LONGEST_SUFFIX))

    @property
    def owner(self) -> str:
        """Owns schema and tables; cannot log in."""
        return f"{self.base}_owner"

    @property
    def app(self) -> str:
        """Has the application's privileges; cannot log in."""
        return f"{self.base}_app"

    @property
    def logins(self) -> tuple[str, str]:
        """The two logins that rotation alternates; the first one is issued first."""
        return f"{self.base}_a", f"{self.base}_b"
