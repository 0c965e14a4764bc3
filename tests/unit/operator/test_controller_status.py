"""What the controller reports, and when it tries again: pure functions."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from locus_operator.api import CheckpointStoreStatus
from locus_operator.api.status import Claims, Condition, ConditionStatus, RetentionStatus
from locus_operator.binding import Binding
from locus_operator.constants import ConditionReason, ConditionType, EventReason
from locus_operator.controller import events, status
from locus_operator.controller.retries import Backoff, backoff_of
from locus_operator.engine import ConditionState, Reconciled, deletion_blocked, failure
from locus_operator.errors import RefusedError, UnavailableError
from locus_operator.provisioner import Action, Plan
from locus_operator.settings import Settings

THEN = datetime(2026, 1, 1, tzinfo=UTC)
NOW = THEN + timedelta(hours=1)
AWAY = UnavailableError("postgresql: db.example.com does not answer")
REFUSED = RefusedError(ConditionReason.AUTHENTICATION_FAILED, "wrong password")
PLAN = Plan((Action("create", "schema", "locus_a_b", "missing"), Action("create", "role", "locus_a_b_a", "missing")))


def state(value: ConditionStatus, reason: ConditionReason = ConditionReason.READY) -> ConditionState:
    return ConditionState(ConditionType.READY, value, reason, "message")


def ready(generation: int = 1, *, claims: Claims | None = None) -> CheckpointStoreStatus:
    conditions = status.merge_conditions((), [state(ConditionStatus.TRUE)], generation, THEN)
    return CheckpointStoreStatus(conditions=conditions, claims=claims)


def done(plan: Plan, *, expired: int | None = None, warnings: tuple[str, ...] = ()) -> Reconciled:
    provisioned = ". ".join(("as desired", *warnings))
    conditions = (
        ConditionState(ConditionType.PROVISIONED, ConditionStatus.TRUE, ConditionReason.PROVISIONED, provisioned),
        ConditionState(
            ConditionType.RETENTION_ENFORCED, ConditionStatus.TRUE, ConditionReason.RETENTION_APPLIED, "by the sweep"
        ),
    )
    binding = Binding("memory", {})
    return Reconciled(plan, binding, "memory", None, Claims(), (), conditions, warnings, expired=expired)


def merged(before: tuple[Condition, ...], new: ConditionState) -> Condition:
    (condition,) = status.merge_conditions(before, [new], 2, NOW)
    return condition


def test_the_transition_time_changes_with_the_status_only() -> None:
    before = status.merge_conditions((), [state(ConditionStatus.TRUE)], 1, THEN)

    same = merged(before, state(ConditionStatus.TRUE, ConditionReason.SUSPENDED))
    other = merged(before, state(ConditionStatus.FALSE))

    assert (same.last_transition_time, same.reason, same.observed_generation) == (THEN, "Suspended", 2)
    assert other.last_transition_time == NOW


def test_conditions_of_other_types_stay() -> None:
    before = status.merge_conditions((), [state(ConditionStatus.TRUE)], 1, THEN)
    other = ConditionState(ConditionType.PROVISIONED, ConditionStatus.TRUE, ConditionReason.PROVISIONED, "")

    both = status.merge_conditions(before, [other], 2, NOW)

    assert [(each.type, each.observed_generation) for each in both] == [("Ready", 1), ("Provisioned", 2)]


def test_a_failure_keeps_binding_and_claims() -> None:
    before = ready(claims=Claims(schema="s"))

    after = status.failed(before, failure(AWAY), 2, NOW)

    assert after.claims == before.claims
    assert after.observed_generation == 2
    assert after.last_reconcile_time == NOW


def test_a_suspended_store_goes_on_being_ready() -> None:
    found = status.suspended(ready(), 2, NOW).condition("Ready")

    assert found is not None
    assert (found.status, found.reason) == ("True", "Suspended")


@pytest.mark.parametrize("broken", [None, {"conditions": "text"}, {"observedGeneration": -1}, {"unknown": 1}])
def test_a_status_that_cannot_be_read_is_an_empty_one(broken: Any) -> None:
    assert status.read_status({"status": broken}) == CheckpointStoreStatus()


def test_a_status_survives_the_api_server() -> None:
    before = status.failed(ready(claims=Claims(schema="s")), failure(AWAY), 2, NOW)

    assert status.read_status({"status": status.to_body(before)}) == before


# Events


def test_the_first_success_tells_what_was_done() -> None:
    (event,) = events.of_success(CheckpointStoreStatus(), done(PLAN), 1)

    assert event == events.Event(
        "Normal", EventReason.PROVISIONED, "create schema locus_a_b: missing; create role locus_a_b_a: missing"
    )


def test_nothing_done_to_a_ready_store_is_no_event() -> None:
    assert events.of_success(ready(), done(Plan()), 1) == []


def test_the_same_spec_on_a_changed_backend_is_drift_and_a_new_spec_is_not() -> None:
    (drift,) = events.of_success(ready(claims=Claims()), done(PLAN), 1)
    (change,) = events.of_success(ready(claims=Claims()), done(PLAN), 2)

    assert (drift.reason, change.reason) == ("DriftCorrected", "Provisioned")


def test_what_retention_has_deleted_is_told_and_nothing_is_not() -> None:
    (event,) = events.of_success(ready(), done(Plan(), expired=7), 1)

    assert event == events.Event("Normal", EventReason.RETENTION_APPLIED, "deleted 7 checkpoints: by the sweep")
    assert events.of_success(ready(), done(Plan(), expired=0), 1) == []


def test_a_warning_is_told_once() -> None:
    warned = done(Plan(), warnings=("the volume is shared",))
    (event,) = events.of_success(ready(), warned, 1)
    known = status.succeeded(ready(), warned, "s-binding", 1, NOW)

    assert event == events.Event("Warning", EventReason.BACKEND_WARNING, "the volume is shared")
    assert events.of_success(known, warned, 1) == []


def test_deleted_checkpoints_are_added_up() -> None:
    first = status.succeeded(ready(), done(Plan(), expired=7), "s-binding", 1, NOW)
    second = status.succeeded(first, done(Plan(), expired=2), "s-binding", 1, NOW)
    unswept = status.succeeded(second, done(Plan()), "s-binding", 1, NOW)

    assert unswept.retention == RetentionStatus(last_run_at=NOW, deleted_total=9)


def test_a_long_plan_fits_into_an_event_and_says_how_much_is_left_out() -> None:
    plan = Plan(tuple(Action("create", "table", f"ö{number:03}" * 10, "missing") for number in range(100)))

    (event,) = events.of_success(CheckpointStoreStatus(), done(plan), 1)

    assert len(event.message.encode()) <= events.MAX_MESSAGE
    named = event.message.count("create table")
    assert named > 5
    assert event.message.endswith(f"; and {100 - named} more")


def test_one_huge_action_is_cut() -> None:
    (event,) = events.of_success(CheckpointStoreStatus(), done(Plan((Action("set", "x", "ö" * 2000, ""),))), 1)

    assert len(event.message.encode()) <= events.MAX_MESSAGE


def test_a_failure_is_an_event_once_for_each_reason_and_generation() -> None:
    found = failure(REFUSED)
    failed = status.failed(CheckpointStoreStatus(), found, 1, NOW)

    assert events.of_failure(CheckpointStoreStatus(), found, 1) is not None
    assert events.of_failure(failed, found, 1) is None
    assert events.of_failure(failed, found, 2) is not None
    assert events.of_failure(failed, failure(AWAY), 1) is not None


def test_a_blocked_deletion_is_an_event_once_for_each_reason() -> None:
    condition = deletion_blocked(AWAY)
    blocked = status.blocked(ready(), condition, 1, NOW)

    assert events.of_blocked(ready(), condition) is not None
    assert events.of_blocked(blocked, condition) is None
    assert events.of_blocked(blocked, deletion_blocked(REFUSED)) is not None


def test_an_abandoned_store_names_what_it_leaves_behind() -> None:
    event = events.of_abandon(Claims(schema="locus_a_b", logins=("locus_a_b_a",)))

    assert "schema locus_a_b" in event.message
    assert "locus_a_b_a" in event.message


# Retries


def test_pauses_double_up_to_the_longest_with_a_fifth_of_jitter() -> None:
    backoff = Backoff(1, 60)

    for failures, pause in ((1, 1), (2, 2), (5, 16), (7, 60), (10_000, 60)):
        drawn = [backoff.pause(failures) for _ in range(100)]
        assert pause * 0.8 <= min(drawn) < max(drawn) <= pause * 1.2


@pytest.mark.parametrize(
    ("error", "first"),
    [
        (AWAY, 1),
        (REFUSED, 60),
        (RefusedError(ConditionReason.SECRET_NOT_FOUND, ""), 5),
        (RefusedError(ConditionReason.CLASS_NOT_FOUND, ""), 5),
        (KeyError("unexpected"), 60),
    ],
)
def test_each_kind_of_error_has_its_pause(error: Exception, first: float) -> None:
    backoff = backoff_of(failure(error), Settings())

    assert backoff is not None
    assert backoff.first == first


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCUS_OPERATOR_WATCH_NAMESPACES", "agents, more")
    monkeypatch.setenv("LOCUS_OPERATOR_WORKERS", "3")

    settings = Settings()

    assert (settings.watch_namespaces, settings.workers) == (("agents", "more"), 3)


def test_settings_whose_pauses_shrink_are_refused() -> None:
    with pytest.raises(ValueError, match=r"RETRY_MAX_SECONDS no shorter than \w+_REFUSED_RETRY_SECONDS"):
        Settings(refused_retry_seconds=60, refused_retry_max_seconds=30)
