"""From what happened to what `status` says: pure functions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from locus_operator.api import CheckpointStoreStatus
from locus_operator.api.status import Binding, Condition, ConditionStatus, CredentialsStatus, RetentionStatus
from locus_operator.constants import ConditionReason, ConditionType
from locus_operator.engine import ConditionState, Failure, Reconciled


def read_status(body: Mapping[str, Any]) -> CheckpointStoreStatus:
    """Read the status of a store; one that cannot be read is a report that is made again."""
    try:
        return CheckpointStoreStatus.model_validate_json(json.dumps(body.get("status") or {}))
    except ValidationError:
        return CheckpointStoreStatus()


def to_body(status: CheckpointStoreStatus) -> dict[str, Any]:
    """Return the status as the API server takes it."""
    return status.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def merge_conditions(
    current: Iterable[Condition], states: Iterable[ConditionState], generation: int, now: datetime
) -> tuple[Condition, ...]:
    """Bring conditions up to date; those of other types stay as they are.

    Args:
        current: The conditions so far.
        states: The new ones.
        generation: The generation that they were found for.
        now: The time at which a condition changes, if its status does.
    """
    merged = {condition.type: condition for condition in current}
    for state in states:
        before = merged.get(state.type)
        unchanged = before is not None and before.status is state.status
        merged[state.type] = Condition(
            type=state.type,
            status=state.status,
            observed_generation=generation,
            last_transition_time=before.last_transition_time if before is not None and unchanged else now,
            reason=state.reason,
            message=state.message,
        )
    return tuple(merged.values())


def provisioning(
    status: CheckpointStoreStatus, backend: str, class_name: str | None, generation: int, now: datetime
) -> CheckpointStoreStatus:
    """Say that the backend is about to be changed for the first time.

    `status.backend` is set from here on: a store without it has left nothing on any backend, and is bound to no class.
    """
    message = f"the objects on the backend ({backend}) are being created"
    states = [
        ConditionState(type_, ConditionStatus.FALSE, ConditionReason.PROGRESSING, message)
        for type_ in (ConditionType.READY, ConditionType.PROVISIONED)
    ]
    return _updated(status, states, generation, now, backend=backend, class_name=class_name)


def succeeded(
    status: CheckpointStoreStatus, done: Reconciled, binding: str, generation: int, now: datetime
) -> CheckpointStoreStatus:
    """Say that everything is as desired.

    Args:
        status: The status so far.
        done: What the engine found and did.
        binding: Name of the binding Secret.
        generation: The generation of the spec.
        now: The time.
    """
    credentials = status.credentials
    if done.login is None:
        credentials = None
    elif credentials is None or credentials.active != done.login:
        credentials = CredentialsStatus(active=done.login, rotated_at=now)
    return _updated(
        status,
        done.conditions,
        generation,
        now,
        backend=done.backend,
        class_name=done.class_name,
        binding=Binding(name=binding),
        claims=done.claims,
        capabilities=done.capabilities,
        credentials=credentials,
        iam_statements=done.iam_statements,
        retention=_retention(status.retention, done.expired, now),
    )


def _retention(before: RetentionStatus | None, expired: int | None, now: datetime) -> RetentionStatus | None:
    if expired is None:
        return before
    so_far = before.deleted_total if before is not None else 0
    return RetentionStatus(last_run_at=now, deleted_total=so_far + expired)


def failed(status: CheckpointStoreStatus, failure: Failure, generation: int, now: datetime) -> CheckpointStoreStatus:
    """Say what is in the way; binding and claims stay, since what was issued before still works."""
    return _updated(status, failure.conditions, generation, now)


def suspended(status: CheckpointStoreStatus, generation: int, now: datetime) -> CheckpointStoreStatus:
    """Say that nothing is done; a binding that was issued goes on working, so Ready keeps its status."""
    ready = status.condition(ConditionType.READY)
    state = ConditionState(
        ConditionType.READY,
        ready.status if ready else ConditionStatus.FALSE,
        ConditionReason.SUSPENDED,
        "spec.suspend is true: nothing is reconciled, and deleting the store leaves its backend as it is",
    )
    return _updated(status, [state], generation, now)


def blocked(
    status: CheckpointStoreStatus, deletion_blocked: ConditionState, generation: int, now: datetime
) -> CheckpointStoreStatus:
    """Say why the deletion does not finish."""
    ready = ConditionState(
        ConditionType.READY, ConditionStatus.FALSE, ConditionReason.DELETING, "the store is being deleted"
    )
    return _updated(status, [ready, deletion_blocked], generation, now)


def _updated(
    status: CheckpointStoreStatus,
    states: Iterable[ConditionState],
    generation: int,
    now: datetime,
    **fields: Any,
) -> CheckpointStoreStatus:
    conditions = merge_conditions(status.conditions, states, generation, now)
    update = {"conditions": conditions, "observed_generation": generation, "last_reconcile_time": now}
    return status.model_copy(update=update | fields)
