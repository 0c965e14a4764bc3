"""kopf handlers of `CheckpointStore`: thin, they only say when."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import kopf

from locus_operator.constants import ANNOTATION_ABANDON, GROUP, STORE_PLURAL, VERSION
from locus_operator.controller.index import StoreIndex
from locus_operator.controller.reconciler import Reconciler
from locus_operator.engine import LEAVES_NOTHING
from locus_operator.kube import StoreIdentity


def register(registry: kopf.OperatorRegistry, reconciler: Reconciler, index: StoreIndex) -> None:
    """Have the reconciler called for every store, and the index know them all.

    Retries are the reconciler's own: kopf would not call a handler that waits for its next try, even if the store is
    changed meanwhile.
    """

    async def reconcile(namespace: str | None, name: str | None, uid: str | None, **_: Any) -> None:
        await reconciler.reconcile(_identity(namespace, name, uid))

    async def release(namespace: str | None, name: str | None, uid: str | None, retry: int, **_: Any) -> None:
        blocked = await reconciler.release(_identity(namespace, name, uid), failures=retry + 1)
        if blocked is not None:
            # Never PermanentError: it would let the object go with the backend not cleaned.
            raise kopf.TemporaryError(blocked.message, delay=blocked.pause)

    async def abandon(namespace: str | None, name: str | None, uid: str | None, **_: Any) -> None:
        await reconciler.abandon(_identity(namespace, name, uid))

    async def remember(type: str | None, uid: str | None, body: kopf.Body, **_: Any) -> None:  # noqa: A002 - kopf's name
        if type != "DELETED":
            index.remember(body)
        elif uid is not None:
            index.forget(uid)
            reconciler.forget(uid)

    on = (GROUP, VERSION, STORE_PLURAL)
    kopf.on.create(*on, registry=registry, id="reconcile")(reconcile)
    kopf.on.update(*on, registry=registry, id="reconcile")(reconcile)
    kopf.on.resume(*on, registry=registry, id="reconcile")(reconcile)
    # Only these two make kopf put a finalizer on a store, and only on one for which `when` holds.
    kopf.on.delete(*on, registry=registry, when=_leaves_something, id="release")(release)
    kopf.on.delete(*on, registry=registry, when=_is_abandoned, id="abandon")(abandon)
    kopf.on.event(*on, registry=registry, id="remember")(remember)


def _identity(namespace: str | None, name: str | None, uid: str | None) -> StoreIdentity:
    return StoreIdentity(namespace or "", name or "", uid or "")


def _is_abandoned(meta: Mapping[str, Any], **_: Any) -> bool:
    return (meta.get("annotations") or {}).get(ANNOTATION_ABANDON) == "true"


def _leaves_something(spec: Mapping[str, Any], meta: Mapping[str, Any], **_: Any) -> bool:
    """Tell whether there may be something to clean up; an invalid spec may have been a valid one before."""
    backend = spec.get("backend")
    makes_nothing = isinstance(backend, Mapping) and bool(backend) and set(backend) <= LEAVES_NOTHING
    return not (makes_nothing or spec.get("suspend") is True or _is_abandoned(meta))
