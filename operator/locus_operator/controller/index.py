"""Which stores there are: kept from kopf's watch, so that a sweep and a class need not ask the API server."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from locus_operator.constants import ConditionType
from locus_operator.kube import StoreIdentity


@dataclass(frozen=True, slots=True)
class IndexedStore:
    """What is remembered of a store.

    Attributes:
        class_name: `spec.className`, if it has one.
        bound_class: The class that it was provisioned with, if there is one.
        is_undecided: It names neither a class nor a backend.
        is_suspended: `spec.suspend` is true.
        backend: Kind of its backend, as far as it is known.
        reason: Reason of its condition `Ready`; empty before there is one.
    """

    identity: StoreIdentity
    class_name: str | None
    bound_class: str | None
    is_undecided: bool
    is_suspended: bool
    backend: str = ""
    reason: str = ""

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> IndexedStore:
        """Read a store as the API server shows it; its spec may be invalid."""
        metadata, spec, status = body["metadata"], body.get("spec") or {}, body.get("status") or {}
        identity = StoreIdentity(metadata["namespace"], metadata["name"], metadata["uid"])
        class_name = spec.get("className")
        return cls(
            identity,
            class_name,
            bound_class=(status.get("className") or class_name) if status.get("backend") else None,
            is_undecided=class_name is None and spec.get("backend") is None,
            is_suspended=spec.get("suspend") is True,
            backend=str(status.get("backend") or next(iter(spec.get("backend") or ()), "")),
            reason=_ready_reason(status),
        )


class StoreIndex:
    """The stores by their UIDs. Complete a moment after the start: a decision to delete must not rest on it."""

    def __init__(self) -> None:
        self._stores: dict[str, IndexedStore] = {}
        self._listeners: list[Callable[[str], None]] = []

    def on_bound(self, listener: Callable[[str], None]) -> None:
        """Have a listener called with the name of a class when a store was bound to it, or has left it."""
        self._listeners.append(listener)

    def remember(self, body: Mapping[str, Any]) -> None:
        """Take in a store as the watch shows it; its spec may be invalid."""
        store = IndexedStore.of(body)
        before = self._stores.get(store.identity.uid)
        self._stores[store.identity.uid] = store
        self._tell(before, store)

    def forget(self, uid: str) -> None:
        """Drop a store that is gone."""
        self._tell(self._stores.pop(uid, None), None)

    def __contains__(self, uid: object) -> bool:
        return uid in self._stores

    def all(self) -> tuple[IndexedStore, ...]:
        """Return all stores."""
        return tuple(self._stores.values())

    def counts(self) -> dict[tuple[str, str], int]:
        """Count the stores by backend and by the reason of their condition `Ready`."""
        return dict(Counter((each.backend, each.reason) for each in self._stores.values()))

    def of_class(self, name: str) -> tuple[StoreIdentity, ...]:
        """Return the stores that name a class, ordered by namespace and name."""
        return self._sorted(each for each in self._stores.values() if each.class_name == name)

    def bound_to(self, name: str) -> tuple[StoreIdentity, ...]:
        """Return the stores that were provisioned with a class, ordered by namespace and name."""
        return self._sorted(each for each in self._stores.values() if each.bound_class == name)

    def undecided(self) -> tuple[StoreIdentity, ...]:
        """Return the stores that wait for a default class, ordered by namespace and name."""
        return self._sorted(each for each in self._stores.values() if each.is_undecided)

    def _sorted(self, stores: Iterable[IndexedStore]) -> tuple[StoreIdentity, ...]:
        return tuple(sorted((each.identity for each in stores), key=str))

    def _tell(self, before: IndexedStore | None, after: IndexedStore | None) -> None:
        classes = {each.bound_class if each is not None else None for each in (before, after)}
        if len(classes) > 1:
            for listener, name in itertools.product(self._listeners, classes - {None}):
                listener(str(name))


def _ready_reason(status: Mapping[str, Any]) -> str:
    conditions = (each for each in status.get("conditions") or () if each.get("type") == ConditionType.READY)
    return next((str(each.get("reason", "")) for each in conditions), "")
