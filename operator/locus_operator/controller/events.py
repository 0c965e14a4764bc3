"""Which Kubernetes Event tells of what happened: one for each transition, none for each try. Pure functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from locus_operator.api import CheckpointStoreStatus
from locus_operator.api.status import Claims, ConditionStatus
from locus_operator.constants import ConditionReason, ConditionType, EventReason
from locus_operator.disclosure import name_of
from locus_operator.engine import ConditionState, Failure, Reconciled
from locus_operator.kube import Object, StoreIdentity
from locus_operator.provisioner import Plan

MAX_MESSAGE: Final = 1000
"""The API server takes 1024 bytes."""

_OWN_EVENTS: Final = {
    ConditionReason.CONFLICT: EventReason.CONFLICT,
    ConditionReason.INVALID_SPEC: EventReason.INVALID_SPEC,
}


@dataclass(frozen=True, slots=True)
class Event:
    """An Event about a store."""

    type: Literal["Normal", "Warning"]
    reason: EventReason
    message: str


Poster = Callable[[Object, Event], None]
"""Writes an Event about an object."""


def of_success(before: CheckpointStoreStatus, done: Reconciled, generation: int) -> list[Event]:
    """Return the Events of a reconcile that succeeded; none when all was well and nothing had to be done.

    Args:
        before: The status before it.
        done: What was done and found.
        generation: The generation of the spec.
    """
    events = []
    if (told := _of_plan(before, done, generation)) is not None:
        events.append(told)
    if done.expired:
        how = next(each.message for each in done.conditions if each.type is ConditionType.RETENTION_ENFORCED)
        message = f"deleted {done.expired} checkpoint{'s' if done.expired != 1 else ''}: {how}"
        events.append(Event("Normal", EventReason.RETENTION_APPLIED, _cut(message)))
    known = before.condition(ConditionType.PROVISIONED)
    new = (warning for warning in done.warnings if known is None or warning not in known.message)
    return events + [Event("Warning", EventReason.BACKEND_WARNING, _cut(warning)) for warning in new]


def _of_plan(before: CheckpointStoreStatus, done: Reconciled, generation: int) -> Event | None:
    ready = before.condition(ConditionType.READY)
    was_ready = ready is not None and ready.status is ConditionStatus.TRUE
    if not done.plan:
        return None if was_ready else Event("Normal", EventReason.PROVISIONED, "ready; nothing had to be done")
    # A spec that is the same, of a store that was complete once: somebody changed the backend.
    same_spec = ready is not None and ready.observed_generation == generation
    drifted = same_spec and before.claims is not None
    reason = EventReason.DRIFT_CORRECTED if drifted else EventReason.PROVISIONED
    return Event("Normal", reason, _list(done.plan, done.class_name))


def of_class(store: StoreIdentity, failure: Failure) -> Event:
    """Return the Event on a class that tells its owners what its tenants are not told, see `disclosure`.

    Args:
        store: One of the stores that met it.
        failure: What is in the way.
    """
    reason = _OWN_EVENTS.get(failure.reason, EventReason.PROVISIONING_FAILED)
    return Event("Warning", reason, _cut(f"store {store}: {failure.detail}"))


def of_failure(before: CheckpointStoreStatus, failure: Failure, generation: int) -> Event | None:
    """Return the Event of a reconcile that failed; None when it had failed for the same reason before.

    Args:
        before: The status before it.
        failure: What is in the way.
        generation: The generation of the spec.
    """
    ready = before.condition(ConditionType.READY)
    if ready is not None and (ready.reason, ready.observed_generation) == (failure.reason, generation):
        return None
    reason = _OWN_EVENTS.get(failure.reason, EventReason.PROVISIONING_FAILED)
    return Event("Warning", reason, _cut(failure.message))


def of_blocked(before: CheckpointStoreStatus, blocked: ConditionState) -> Event | None:
    """Return the Event of a deletion that does not finish; None when it was blocked for the same reason before."""
    condition = before.condition(ConditionType.DELETION_BLOCKED)
    if condition is not None and condition.reason == blocked.reason:
        return None
    return Event("Warning", EventReason.DELETION_BLOCKED, _cut(blocked.message))


def of_release(plan: Plan, class_name: str | None) -> Event:
    """Return the Event of a store that has left its backend.

    Args:
        plan: What was done.
        class_name: The store's class; None for one that brings its own backend.
    """
    return Event("Normal", EventReason.RELEASED, _list(plan, class_name) or "nothing of the store was on the backend")


def of_abandon(claims: Claims | None) -> Event:
    """Return the Event of a store that was let go; what it leaves behind is named one last time."""
    left = claims.model_dump(by_alias=True, exclude_defaults=True) if claims else {}
    listed = ", ".join(f"{name} {value}" for name, value in left.items()) or "whatever was there"
    return Event("Warning", EventReason.ABANDONED, _cut(f"let go; left behind on the backend: {listed}"))


def _list(plan: Plan, class_name: str | None) -> str:
    """Name the actions, as many as there is room for."""
    text, names = "", [name_of(action, class_name) for action in plan.actions]
    for index, name in enumerate(names):
        more = f"; and {len(names) - index} more"
        entry = f"{'; ' if text else ''}{name}"
        if len((text + entry + more).encode()) > MAX_MESSAGE:
            return _cut(text + more if text else name)
        text += entry
    return text


def _cut(text: str) -> str:
    encoded = text.encode()
    return text if len(encoded) <= MAX_MESSAGE else encoded[: MAX_MESSAGE - 3].decode(errors="ignore") + "…"
