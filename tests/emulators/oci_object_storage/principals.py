"""Who may do what: API keys, session tokens, and the buckets of each user."""

from __future__ import annotations

import json
import time
from functools import lru_cache

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from tests.emulators.oci_object_storage.errors import no_bucket
from tests.emulators.oci_object_storage.storage import Storage

LEVELS = ("read", "write", "manage")
"""What a user may do with a bucket: read objects; write them as well; the bucket itself as well."""


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

    def check(self, user: str, bucket: str, level: str, namespace: str) -> None:
        """Refuse as the service does: it does not say whether the bucket is there.

        Raises:
            ServiceError: 404.
        """
        rows = self._storage.rows("SELECT buckets FROM users WHERE name = ?", user)
        buckets = json.loads(rows[0][0]) if rows else {}
        granted = buckets.get(bucket) or buckets.get("*")
        if granted is None or LEVELS.index(granted) < LEVELS.index(level):
            raise no_bucket(bucket, namespace)


@lru_cache(maxsize=1000)
def _load(pem: str) -> rsa.RSAPublicKey:
    key = load_pem_public_key(pem.encode())
    assert isinstance(key, rsa.RSAPublicKey)
    return key
