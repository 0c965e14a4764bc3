"""Who may do what: API keys, session tokens, and the buckets of each user."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from functools import lru_cache

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from tests.emulators.oci_object_storage.identity import statements
from tests.emulators.oci_object_storage.statements import Principal
from tests.emulators.oci_object_storage.storage import Storage

LEVELS = ("read", "write", "manage")
"""What a user may do with a bucket: read objects; write them as well; the bucket itself as well."""


@dataclass(frozen=True)
class Access:
    """What somebody wants to do.

    Attributes:
        permissions: All of them are needed.
        object: None where no single object is meant.
    """

    level: str
    permissions: tuple[str, ...]
    compartment: str
    bucket: str = "*"
    object: str | None = None

    def target(self) -> dict[str, str]:
        """Return what conditions can say of it."""
        found = {} if self.bucket == "*" else {"target.bucket.name": self.bucket}
        return found if self.object is None else found | {"target.object.name": self.object}


class Principals:
    """Keys and permissions, as `admin` registers them."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def key(self, key_id: str) -> rsa.RSAPublicKey | None:
        """Return the public key of a key id; None for one that is unknown, revoked or expired."""
        rows = self._storage.rows("SELECT public_key, expires FROM keys WHERE id = ?", key_id)
        if not rows or (rows[0][1] is not None and rows[0][1] < time.time()):
            return None
        return _load(rows[0][0])

    def user(self, key_id: str) -> str:
        """Return the user of a registered key."""
        [(user,)] = self._storage.rows("SELECT user FROM keys WHERE id = ?", key_id)
        return str(user)

    def may(self, user: str, access: Access) -> bool:
        """Tell whether a user may do something: by what `admin` registered, or by the statements of policies."""
        rows = self._storage.rows("SELECT buckets FROM users WHERE name = ?", user)
        buckets = json.loads(rows[0][0]) if rows else {}
        granted = buckets.get(access.bucket) or buckets.get("*")
        if granted is not None and LEVELS.index(granted) >= LEVELS.index(access.level):
            return True
        principal, target = self._principal(user), access.target()
        found = statements(self._storage)
        return all(
            any(each.grants(principal, permission, access.compartment, target) for each in found)
            for permission in access.permissions
        )

    def _principal(self, user: str) -> Principal:
        rows = self._storage.rows("SELECT variables, subjects FROM principals WHERE name = ?", user)
        variables, subjects = (json.loads(text) for text in rows[0]) if rows else ({}, [])
        return Principal(variables or {"request.user.id": user}, frozenset(subjects))


@lru_cache(maxsize=1000)
def _load(pem: str) -> rsa.RSAPublicKey:
    key = load_pem_public_key(pem.encode())
    assert isinstance(key, rsa.RSAPublicKey)
    return key
