"""kopf handlers of `CheckpointStoreClass`: thin, they only say when."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import kopf

from locus_operator.constants import CLASS_PLURAL, GROUP, VERSION
from locus_operator.controller.class_reconciler import ClassReconciler
from locus_operator.errors import ProvisioningError
from locus_operator.inheritance import is_default

RELEASE_SECONDS: Final = 60.0
"""Pause between looks at a class that cannot go; the last of its stores ends it at once."""


def register(registry: kopf.OperatorRegistry, reconciler: ClassReconciler) -> None:
    """Have the reconciler called for every class."""

    async def resumed(name: str | None, **_: Any) -> None:
        # Its stores are looked at anyway when the controller starts.
        reconciler.recount(name or "")

    async def changed(name: str | None, meta: Mapping[str, Any], **_: Any) -> None:
        await reconciler.changed(name or "", is_default_class=is_default(meta.get("annotations") or {}))

    async def release(name: str | None, **_: Any) -> None:
        try:
            message = await reconciler.release(name or "")
        except ProvisioningError as error:
            message = str(error)
        if message is not None:
            raise kopf.TemporaryError(message, delay=RELEASE_SECONDS)

    async def gone(type: str | None, name: str | None, **_: Any) -> None:  # noqa: A002 - kopf's name for it
        if type == "DELETED":
            reconciler.gone(name or "")

    on = (GROUP, VERSION, CLASS_PLURAL)
    kopf.on.create(*on, registry=registry, id="changed")(changed)
    kopf.on.update(*on, registry=registry, id="changed")(changed)
    kopf.on.resume(*on, registry=registry, id="resumed")(resumed)
    # kopf has a finalizer on a class for which `when` holds, and on no other.
    kopf.on.delete(*on, registry=registry, when=_is_in_use, id="release")(release)
    kopf.on.event(*on, registry=registry, id="gone")(gone)


def _is_in_use(status: Mapping[str, Any], **_: Any) -> bool:
    return bool(status.get("boundStores"))
