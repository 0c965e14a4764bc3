"""From results and errors to the conditions that people read: pure functions, the only place that decides it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from locus_memory.connection import Connection, RedisConnection
from locus_operator.api import CheckpointStoreSpec, InvalidSpecError
from locus_operator.api.status import ConditionStatus
from locus_operator.constants import ConditionReason, ConditionType
from locus_operator.errors import ProvisioningError, RefusedError, UnavailableError


@dataclass(frozen=True, slots=True)
class ConditionState:
    """A condition without its times and generation, which the controller knows."""

    type: ConditionType
    status: ConditionStatus
    reason: ConditionReason
    message: str


class Retry(Enum):
    """When a failed reconcile is tried again."""

    ON_CHANGE = "not before the spec changes"
    SLOWLY = "slowly: a person has to act first"
    SOON = "with exponential back-off: it may pass by itself"


@dataclass(frozen=True, slots=True)
class Failure:
    """What an error means.

    Attributes:
        conditions: The ones that the error changes; the others stay as they are, since what was issued before
            still works.
    """

    reason: ConditionReason
    message: str
    retry: Retry
    conditions: tuple[ConditionState, ...]


def failure(error: Exception) -> Failure:
    """Say what an error of `reconcile` or `release` means for the store's conditions and for its next try."""
    match error:
        case UnavailableError():
            retry, provisioned = Retry.SOON, ConditionStatus.UNKNOWN
        case RefusedError():
            retry, provisioned = Retry.SLOWLY, ConditionStatus.FALSE
        case ProvisioningError() | InvalidSpecError():
            retry, provisioned = Retry.ON_CHANGE, ConditionStatus.FALSE
        case _:
            retry, provisioned = Retry.SLOWLY, ConditionStatus.UNKNOWN
    reason, message = _explain(error)
    conditions = (
        ConditionState(ConditionType.READY, ConditionStatus.FALSE, reason, message),
        ConditionState(ConditionType.PROVISIONED, provisioned, reason, message),
    )
    return Failure(reason, message, retry, conditions)


def deletion_blocked(error: Exception) -> ConditionState:
    """Say why a deletion does not finish, and what lets it finish."""
    reason, message = _explain(error)
    advice = 'to let the object go and leave the backend as it is: annotate it memory.locus.dev/abandon="true"'
    return ConditionState(
        ConditionType.DELETION_BLOCKED, ConditionStatus.TRUE, reason, f"{message}; it is tried again. {advice}"
    )


def success(
    spec: CheckpointStoreSpec, connection: Connection, *, login: str | None, note: str
) -> tuple[ConditionState, ...]:
    """Return the conditions of a store that is as desired.

    Args:
        spec: The effective spec.
        connection: The binding document.
        login: The login that the binding holds; None where the backend has none.
        note: What a person should know about the backend; may be empty.
    """
    retention = retention_enforced(spec, connection)
    provisioned = "everything exists on the backend as desired" + (f". {note}" if note else "")
    ready = "the binding can be used"
    if retention.status is ConditionStatus.FALSE:
        ready += f"; but {retention.message}"
    return (
        ConditionState(ConditionType.READY, ConditionStatus.TRUE, ConditionReason.READY, ready),
        ConditionState(ConditionType.PROVISIONED, ConditionStatus.TRUE, ConditionReason.PROVISIONED, provisioned),
        credentials_ready(spec, login),
        retention,
    )


def credentials_ready(spec: CheckpointStoreSpec, login: str | None) -> ConditionState:
    """Return the condition about the application's login."""
    message = f"the binding holds the login {login}" if login else "this backend needs no login"
    if login and spec.credentials.rotation_period is not None:
        message += (
            f"; spec.credentials.rotationPeriod ({spec.credentials.rotation_period}) is not acted on by this version "
            "of the operator: the login stays the same"
        )
    return ConditionState(
        ConditionType.CREDENTIALS_READY, ConditionStatus.TRUE, ConditionReason.CREDENTIALS_ISSUED, message
    )


def retention_enforced(spec: CheckpointStoreSpec, connection: Connection) -> ConditionState:
    """Return the condition about the retention rules: true only when each of them is enforced."""
    retention = spec.retention
    wanted = {
        "maxAge": retention.max_age,
        "maxCheckpointsPerThread": retention.max_checkpoints_per_thread,
        "archiveAfter": retention.archive_after,
    }
    asked = {name: value for name, value in wanted.items() if value is not None}
    expiry = connection.ttl_seconds if isinstance(connection, RedisConnection) else None
    if not asked and expiry is None:
        return ConditionState(
            ConditionType.RETENTION_ENFORCED,
            ConditionStatus.TRUE,
            ConditionReason.NO_RETENTION,
            "no retention is asked for: checkpoints are kept for ever",
        )
    enforced = {"maxAge"} if expiry is not None and not _outlives(retention.max_age, connection) else set()
    ignored = [f"spec.retention.{name} ({value})" for name, value in asked.items() if name not in enforced]
    if not ignored:
        return ConditionState(
            ConditionType.RETENTION_ENFORCED,
            ConditionStatus.TRUE,
            ConditionReason.RETENTION_APPLIED,
            f"threads expire {expiry} seconds after their last write{_refreshed(connection)}",
        )
    return ConditionState(
        ConditionType.RETENTION_ENFORCED,
        ConditionStatus.FALSE,
        ConditionReason.NOT_SUPPORTED,
        f"{' and '.join(ignored)} {'is' if len(ignored) == 1 else 'are'} not enforced yet by this version of the "
        f"operator on {connection.type}: nothing is deleted for it; until then call the checkpointer's "
        "vacuum(older_than_days=…) or delete(…) from a job of your own",
    )


def _outlives(max_age: object, connection: Connection) -> bool:
    # A thread that is read again and again never expires: that breaks the promise of maxAge.
    return max_age is not None and isinstance(connection, RedisConnection) and connection.refresh_ttl_on_read


def _refreshed(connection: Connection) -> str:
    refreshed = isinstance(connection, RedisConnection) and connection.refresh_ttl_on_read
    return ", and after each read anew" if refreshed else ""


def _explain(error: Exception) -> tuple[ConditionReason, str]:
    match error:
        case ProvisioningError():
            return error.reason, str(error)
        case InvalidSpecError():
            return ConditionReason.INVALID_SPEC, str(error)
        case _:
            # The text of an unexpected error may hold anything, a password included.
            return (
                ConditionReason.INTERNAL_ERROR,
                f"unexpected {type(error).__name__} in the operator: its log says more; please report it",
            )
