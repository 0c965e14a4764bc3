"""What a store gets from its class, what its class bounds, and what does not go together."""

from typing import Any

import pytest

from locus_operator.api import CheckpointStore, CheckpointStoreClass, InvalidSpecError, parse_store, parse_store_class
from locus_operator.constants import ConditionReason
from locus_operator.errors import LimitExceededError, RefusedError
from locus_operator.inheritance import check_class, default_class, effective_spec, is_default, spec_to_release
from tests.unit.operator.samples import Spec, on, store, store_class


def a_store(**spec: Any) -> CheckpointStore:
    return parse_store(store({"className": "shared", **spec}))


def a_class(kind: str = "postgresql", backend: Spec | None = None, **spec: Any) -> CheckpointStoreClass:
    return parse_store_class(store_class(on(kind, **(backend or {})) | spec))


def test_the_store_wins_over_defaults_and_defaults_over_nothing_field_by_field() -> None:
    defaults = {
        "retention": {"maxAge": "30d", "maxCheckpointsPerThread": 9},
        "deletionPolicy": "Delete",
        "credentials": {"rotationPeriod": "7d", "overlap": "2h"},
    }
    own: Spec = {"retention": {"maxAge": "1d"}, "credentials": {"overlap": "30m"}}

    spec = effective_spec(a_store(**own), a_class(defaults=defaults))

    assert spec.backend is not None
    assert spec.backend.kind == "postgresql"
    assert (str(spec.retention.max_age), spec.retention.max_checkpoints_per_thread) == ("1d", 9)
    assert (str(spec.credentials.rotation_period), str(spec.credentials.overlap)) == ("7d", "30m")
    assert spec.deletion_policy == "Delete"


def test_a_limit_applies_where_neither_store_nor_defaults_say_anything() -> None:
    limits = {"maxRetention": "30d", "maxCheckpointsPerThread": 10, "maxRotationPeriod": "90d"}

    spec = effective_spec(a_store(), a_class(limits=limits, defaults={"retention": {"maxAge": "7d"}}))

    assert str(spec.retention.max_age) == "7d"
    assert spec.retention.max_checkpoints_per_thread == 10
    assert str(spec.credentials.rotation_period) == "90d"


@pytest.mark.parametrize(
    ("own", "limits", "message"),
    [
        (
            {"retention": {"maxAge": "31d"}},
            {"maxRetention": "30d"},
            "spec.retention.maxAge: write 30d or less: 31d is more than CheckpointStoreClass 'shared' allows",
        ),
        (
            {"retention": {"maxCheckpointsPerThread": 11}},
            {"maxCheckpointsPerThread": 10},
            "spec.retention.maxCheckpointsPerThread: write 10 or less: 11 is more than",
        ),
        (
            {"credentials": {"rotationPeriod": "25h"}},
            {"maxRotationPeriod": "1d"},
            "spec.credentials.rotationPeriod: write 1d or less: 25h is more than",
        ),
    ],
)
def test_more_than_the_limit_is_refused_with_path_value_and_bound(own: Spec, limits: Spec, message: str) -> None:
    with pytest.raises(LimitExceededError) as caught:
        effective_spec(a_store(**own), a_class(limits=limits))
    assert str(caught.value).startswith(message)
    assert caught.value.reason is ConditionReason.LIMIT_EXCEEDED


def test_exactly_the_limit_is_allowed_in_any_unit() -> None:
    spec = effective_spec(a_store(retention={"maxAge": "720h"}), a_class(limits={"maxRetention": "30d"}))
    assert str(spec.retention.max_age) == "720h"


def test_everything_over_a_limit_is_told_at_once() -> None:
    own: Spec = {"retention": {"maxAge": "2d", "maxCheckpointsPerThread": 2}}
    with pytest.raises(LimitExceededError, match=r"maxAge: .*; spec\.retention\.maxCheckpointsPerThread: "):
        effective_spec(a_store(**own), a_class(limits={"maxRetention": "1d", "maxCheckpointsPerThread": 1}))


@pytest.mark.parametrize(
    ("own", "of_class", "path", "words"),
    [
        (
            {"retention": {"archiveAfter": "1d"}},
            a_class(),
            "spec.retention.archiveAfter",
            "only the backend ociBucket has an archive tier",
        ),
        (
            {"retention": {"maxAge": "5d"}},
            a_class("ociBucket", defaults={"retention": {"archiveAfter": "7d"}}),
            "spec.retention.archiveAfter",
            "shorter than maxAge: what is deleted cannot be archived any more (from the class: archiveAfter is 7d)",
        ),
        ({"longTermMemory": {}}, a_class("file"), "spec.longTermMemory", "this backend has no long-term memory"),
        (
            {"retention": {"maxAge": "12h"}},
            a_class("redis", {"ttl": {"onWrite": "24h"}}),
            "spec.retention.maxAge",
            "write 24h or more: the class keeps a thread that long after its last write",
        ),
        (
            {"credentials": {"rotationPeriod": "1h"}},
            a_class(defaults={"credentials": {"rotationPeriod": "7d", "overlap": "2h"}}),
            "spec.credentials.overlap",
            "both would be in use (from the class: overlap is 2h)",
        ),
        (
            {"credentials": {"overlap": "2h"}},
            a_class(limits={"maxRotationPeriod": "1h"}),
            "spec.credentials.overlap",
            "both would be in use (from the class: rotationPeriod is 1h)",
        ),
    ],
)
def test_store_and_class_are_judged_together_in_the_tenants_words(
    own: Spec, of_class: CheckpointStoreClass, path: str, words: str
) -> None:
    with pytest.raises(InvalidSpecError) as caught:
        effective_spec(a_store(**own), of_class)
    [error] = caught.value.errors
    assert error.path == path
    assert words in error.message


def test_what_is_wrong_with_a_store_does_not_keep_it_from_leaving() -> None:
    of_class = a_class(limits={"maxRetention": "1d"}, defaults={"deletionPolicy": "Delete"})
    spec = spec_to_release(a_store(retention={"maxAge": "2d", "archiveAfter": "1d"}), of_class)
    assert spec.backend is not None
    assert spec.deletion_policy == "Delete"


@pytest.mark.parametrize(
    ("of_class", "path"),
    [
        (
            a_class("redis", {"ttl": {"onWrite": "24h"}}, limits={"maxRetention": "12h"}),
            "spec.backend.redis.ttl.onWrite",
        ),
        (
            a_class("ociBucket", defaults={"retention": {"archiveAfter": "7d"}}, limits={"maxRetention": "7d"}),
            "spec.defaults.retention.archiveAfter",
        ),
        (
            a_class(defaults={"credentials": {"overlap": "2h"}}, limits={"maxRotationPeriod": "1h"}),
            "spec.defaults.credentials.overlap",
        ),
    ],
)
def test_a_class_whose_parts_do_not_go_together_is_told_where(of_class: CheckpointStoreClass, path: str) -> None:
    with pytest.raises(InvalidSpecError) as caught:
        check_class(of_class)
    assert [each.path for each in caught.value.errors] == [path]


def test_a_class_that_is_well_is_accepted() -> None:
    check_class(a_class(limits={"maxRetention": "30d"}, defaults={"retention": {"maxAge": "7d"}}))


def test_the_default_class_is_the_only_one() -> None:
    assert default_class(["shared"]) == "shared"


@pytest.mark.parametrize(("names", "words"), [([], "no default class"), (["b", "a"], "there are several: a, b")])
def test_no_default_class_or_several_are_no_choice(names: list[str], words: str) -> None:
    with pytest.raises(RefusedError, match=words) as caught:
        default_class(names)
    assert caught.value.reason is ConditionReason.CLASS_NOT_FOUND
    assert caught.value.for_tenants


def test_a_store_that_names_nothing_has_no_spec_to_work_with() -> None:
    with pytest.raises(RefusedError, match="names neither a class nor a backend"):
        effective_spec(parse_store(store({})))


@pytest.mark.parametrize(("value", "expected"), [("true", True), ("false", False), ("yes", False)])
def test_only_true_marks_a_default_class(value: str, expected: bool) -> None:
    assert is_default({"memory.locus.dev/is-default-class": value}) is expected
