"""From results and errors to the conditions that people read: pure functions, the only place that decides it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from locus_operator.api import CheckpointStoreSpec, InvalidSpecError
from locus_operator.api.status import ConditionStatus
from locus_operator.constants import ConditionReason, ConditionType
from locus_operator.disclosure import for_tenants
from locus_operator.errors import ProvisioningError, RefusedError, UnavailableError
from locus_operator.provisioner import Report


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
        message: For people who may read the store, see `disclosure`.
        detail: For the platform team: everything.
        conditions: The ones that the error changes; the others stay as they are, since what was issued before
            still works.
    """

    reason: ConditionReason
    message: str
    detail: str
    retry: Retry
    conditions: tuple[ConditionState, ...]


def failure(error: Exception, class_name: str | None = None) -> Failure:
    """Say what an error of `reconcile` or `release` means for the store's conditions and for its next try.

    Args:
        error: The error.
        class_name: The store's class, whose secrets its conditions keep; None for one that brings its own backend.
    """
    match error:
        case UnavailableError():
            retry, provisioned = Retry.SOON, ConditionStatus.UNKNOWN
        case RefusedError():
            retry, provisioned = Retry.SLOWLY, ConditionStatus.FALSE
        case ProvisioningError() | InvalidSpecError():
            retry, provisioned = Retry.ON_CHANGE, ConditionStatus.FALSE
        case _:
            retry, provisioned = Retry.SLOWLY, ConditionStatus.UNKNOWN
    reason, detail = _explain(error)
    message = for_tenants(error, reason, detail, class_name)
    conditions = (
        ConditionState(ConditionType.READY, ConditionStatus.FALSE, reason, message),
        ConditionState(ConditionType.PROVISIONED, provisioned, reason, message),
    )
    return Failure(reason, message, detail, retry, conditions)


def deletion_blocked(error: Exception, class_name: str | None = None) -> ConditionState:
    """Say why a deletion does not finish, and what lets it finish; arguments as in `failure`."""
    reason, detail = _explain(error)
    message = for_tenants(error, reason, detail, class_name)
    advice = 'to let the object go and leave the backend as it is: annotate it memory.locus.dev/abandon="true"'
    return ConditionState(
        ConditionType.DELETION_BLOCKED, ConditionStatus.TRUE, reason, f"{message}; it is tried again. {advice}"
    )


def success(spec: CheckpointStoreSpec, report: Report, *, login: str | None) -> tuple[ConditionState, ...]:
    """Return the conditions of a store that is as desired.

    Args:
        spec: The effective spec.
        report: What the provisioner says of the backend.
        login: The login that the binding holds; None where there is none.
    """
    retention = retention_enforced(spec, report.retention)
    notes = (report.note, *report.warnings)
    provisioned = ". ".join(("everything exists on the backend as desired", *(note for note in notes if note)))
    ready = "the binding can be used"
    if retention.status is ConditionStatus.FALSE:
        ready += f"; but {retention.message}"
    return (
        ConditionState(ConditionType.READY, ConditionStatus.TRUE, ConditionReason.READY, ready),
        ConditionState(ConditionType.PROVISIONED, ConditionStatus.TRUE, ConditionReason.PROVISIONED, provisioned),
        credentials_ready(spec, login, report.no_login),
        retention,
    )


def credentials_ready(spec: CheckpointStoreSpec, login: str | None, no_login: str) -> ConditionState:
    """Return the condition about the application's login."""
    message = f"the binding holds the login {login}" if login else no_login
    if login and spec.credentials.rotation_period is not None:
        message += (
            f"; spec.credentials.rotationPeriod ({spec.credentials.rotation_period}) is not acted on by this version "
            "of the operator: the login stays the same"
        )
    return ConditionState(
        ConditionType.CREDENTIALS_READY, ConditionStatus.TRUE, ConditionReason.CREDENTIALS_ISSUED, message
    )


def retention_enforced(spec: CheckpointStoreSpec, enforced: Mapping[str, str]) -> ConditionState:
    """Return the condition about the retention rules: true only when each of them is enforced.

    Args:
        spec: The effective spec.
        enforced: The rules that are enforced, each with how.
    """
    retention = spec.retention
    wanted = {
        "maxAge": retention.max_age,
        "maxCheckpointsPerThread": retention.max_checkpoints_per_thread,
        "archiveAfter": retention.archive_after,
    }
    asked = {name: value for name, value in wanted.items() if value is not None}
    if not asked and not enforced:
        return ConditionState(
            ConditionType.RETENTION_ENFORCED,
            ConditionStatus.TRUE,
            ConditionReason.NO_RETENTION,
            "no retention is asked for: checkpoints are kept for ever",
        )
    ignored = [f"spec.retention.{name} ({value})" for name, value in asked.items() if name not in enforced]
    if not ignored:
        # Where nothing is asked for, what the backend does by itself.
        told = [how for name, how in enforced.items() if name in asked or not asked]
        return ConditionState(
            ConditionType.RETENTION_ENFORCED,
            ConditionStatus.TRUE,
            ConditionReason.RETENTION_APPLIED,
            "; ".join(dict.fromkeys(told)),
        )
    return ConditionState(
        ConditionType.RETENTION_ENFORCED,
        ConditionStatus.FALSE,
        ConditionReason.NOT_SUPPORTED,
        f"{' and '.join(ignored)} {'is' if len(ignored) == 1 else 'are'} not enforced on this backend: nothing is "
        "deleted for it; call the checkpointer's vacuum(older_than_days=…) or delete(…) from a job of your own",
    )


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
