"""Which stores there are: kept from kopf's watch, so that a sweep and a class need not ask the API server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from locus_operator.kube import StoreIdentity


@dataclass(frozen=True, slots=True)
class IndexedStore:
    """What is remembered of a store.

    Attributes:
        class_name: `spec.className`, if it has one.
        is_suspended: `spec.suspend` is true.
    """

    identity: StoreIdentity
    class_name: str | None
    is_suspended: bool


class StoreIndex:
    """The stores by their UIDs. Complete a moment after the start: a decision to delete must not rest on it."""

    def __init__(self) -> None:
        self._stores: dict[str, IndexedStore] = {}

    def remember(self, body: Mapping[str, Any]) -> None:
        """Take in a store as the watch shows it; its spec may be invalid."""
        metadata, spec = body["metadata"], body.get("spec") or {}
        identity = StoreIdentity(metadata["namespace"], metadata["name"], metadata["uid"])
        self._stores[identity.uid] = IndexedStore(identity, spec.get("className"), spec.get("suspend") is True)

    def forget(self, uid: str) -> None:
        """Drop a store that is gone."""
        self._stores.pop(uid, None)

    def __contains__(self, uid: object) -> bool:
        return uid in self._stores

    def all(self) -> tuple[IndexedStore, ...]:
        """Return all stores."""
        return tuple(self._stores.values())

    def of_class(self, name: str) -> tuple[StoreIdentity, ...]:
        """Return the stores that name a class, ordered by namespace and name."""
        found = (each.identity for each in self._stores.values() if each.class_name == name)
        return tuple(sorted(found, key=str))
