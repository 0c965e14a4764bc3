"""From what was found of a class to what its `status` says: pure functions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pydantic import ValidationError

from locus_operator.api import CheckpointStoreClassStatus
from locus_operator.api.status import ConditionStatus
from locus_operator.api.store_class import AllowedNamespaces, NamespacesFrom
from locus_operator.conditions import ConditionState
from locus_operator.constants import ConditionReason, ConditionType
from locus_operator.controller.status import merge_conditions
from locus_operator.kube import StoreIdentity

_NAMED: Final = 10
"""Stores that are named where all cannot be."""
_ALLOWED: Final = {
    NamespacesFrom.NONE: "no namespace may use it: write spec.allowedNamespaces.from",
    NamespacesFrom.ALL: "all namespaces may use it",
    NamespacesFrom.SELECTOR: "namespaces whose labels match may use it",
}


@dataclass(frozen=True, slots=True)
class FoundClass:
    """What was found of a class.

    Attributes:
        backend: Kind of its backend, unless the spec cannot be read.
        ready: Its condition Ready.
        bound: The stores that were provisioned with it.
        is_ending: It is being deleted.
    """

    backend: str | None
    ready: ConditionState
    bound: Sequence[StoreIdentity]
    is_ending: bool


def ready(allowed: AllowedNamespaces) -> ConditionState:
    """Say that stores can use the class, and whose."""
    message = f"spec, Secrets and ConfigMaps are as they should be; {_ALLOWED[allowed.from_]}"
    return ConditionState(ConditionType.READY, ConditionStatus.TRUE, ConditionReason.READY, message)


def not_ready(reason: ConditionReason, message: str) -> ConditionState:
    """Say what is wrong with the class."""
    return ConditionState(ConditionType.READY, ConditionStatus.FALSE, reason, message)


def in_use(bound: Sequence[StoreIdentity]) -> ConditionState:
    """Say why the class cannot be deleted."""
    named = ", ".join(map(str, bound[:_NAMED]))
    more = f" and {len(bound) - _NAMED} more" if len(bound) > _NAMED else ""
    stores = "1 store was" if len(bound) == 1 else f"{len(bound)} stores were"
    return ConditionState(
        ConditionType.DELETION_BLOCKED,
        ConditionStatus.TRUE,
        ConditionReason.CLASS_IN_USE,
        f"{stores} provisioned with it and cannot be released without it: delete {named}{more}. The class goes with "
        "the last of them",
    )


def read_status(body: Mapping[str, Any]) -> CheckpointStoreClassStatus:
    """Read the status of a class; one that cannot be read is a report that is made again."""
    try:
        return CheckpointStoreClassStatus.model_validate_json(json.dumps(body.get("status") or {}))
    except ValidationError:
        return CheckpointStoreClassStatus()


def to_body(status: CheckpointStoreClassStatus) -> dict[str, Any]:
    """Return the status as the API server takes it; the number of stores is told even if it is 0."""
    return {
        "boundStores": status.bound_stores,
        **status.model_dump(mode="json", by_alias=True, exclude_defaults=True),
    }


def updated(
    before: CheckpointStoreClassStatus, found: FoundClass, generation: int, now: datetime
) -> CheckpointStoreClassStatus:
    """Bring a status up to date.

    Args:
        before: The status so far.
        found: What was found.
        generation: The generation of the spec.
        now: The time.
    """
    blocked = [in_use(found.bound)] if found.is_ending and found.bound else []
    conditions = merge_conditions(before.conditions, [found.ready, *blocked], generation, now)
    return before.model_copy(
        update={
            "conditions": tuple(each for each in conditions if blocked or each.type != ConditionType.DELETION_BLOCKED),
            "observed_generation": generation,
            "backend": found.backend,
            "bound_stores": len(found.bound),
            "last_reconcile_time": now,
        }
    )


def is_news(before: CheckpointStoreClassStatus, after: CheckpointStoreClassStatus) -> bool:
    """Tell whether two statuses differ in more than the time of the look."""
    return after.model_copy(update={"last_reconcile_time": before.last_reconcile_time}) != before
