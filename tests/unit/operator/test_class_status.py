"""What a class reports, who may use it, and which stores it has."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from locus_operator.api import CheckpointStoreClassStatus
from locus_operator.api.status import ConditionStatus
from locus_operator.api.store_class import AllowedNamespaces
from locus_operator.constants import ConditionReason, ConditionType
from locus_operator.controller import class_status
from locus_operator.controller.class_status import FoundClass
from locus_operator.controller.index import StoreIndex
from locus_operator.controller.tenancy import allowed_namespaces
from locus_operator.kube import StoreIdentity
from tests.unit.operator.samples import store_class, with_memory

THEN = datetime(2026, 1, 1, tzinfo=UTC)
NOW = THEN + timedelta(hours=1)


def found(stores: int = 0, *, is_ending: bool = False) -> FoundClass:
    bound = tuple(StoreIdentity("agents", f"s{number:02}", f"uid-{number}") for number in range(stores))
    return FoundClass("postgresql", class_status.ready(AllowedNamespaces()), bound, is_ending)


def status(stores: int = 0, *, is_ending: bool = False) -> CheckpointStoreClassStatus:
    return class_status.updated(CheckpointStoreClassStatus(), found(stores, is_ending=is_ending), 3, THEN)


def test_a_class_reports_generation_backend_stores_and_readiness() -> None:
    body = class_status.to_body(status(2))

    assert (body["observedGeneration"], body["backend"], body["boundStores"]) == (3, "postgresql", 2)
    [ready] = body["conditions"]
    assert (ready["type"], ready["status"], ready["reason"]) == ("Ready", "True", "Ready")
    assert "no namespace may use it" in ready["message"]


def test_no_stores_are_told_as_well() -> None:
    assert class_status.to_body(status())["boundStores"] == 0


def test_a_class_in_use_says_how_many_stores_hold_it_and_names_ten() -> None:
    blocked = status(12, is_ending=True).condition(ConditionType.DELETION_BLOCKED)

    assert blocked is not None
    assert (blocked.status, blocked.reason) == (ConditionStatus.TRUE, ConditionReason.CLASS_IN_USE)
    assert blocked.message.startswith("12 stores were provisioned with it")
    assert "agents/s09 and 2 more" in blocked.message


@pytest.mark.parametrize(("stores", "is_ending"), [(0, True), (2, False)])
def test_a_class_that_nothing_holds_is_not_blocked(stores: int, is_ending: bool) -> None:
    before = status(2, is_ending=True)
    after = class_status.updated(before, found(stores, is_ending=is_ending), 3, NOW)
    assert after.condition(ConditionType.DELETION_BLOCKED) is None


def test_the_time_of_a_look_alone_is_no_news() -> None:
    before = status(2)
    assert not class_status.is_news(before, class_status.updated(before, found(2), 3, NOW))
    assert class_status.is_news(before, class_status.updated(before, found(3), 3, NOW))


def test_a_status_that_cannot_be_read_is_made_again() -> None:
    assert class_status.read_status({"status": {"boundStores": "many"}}) == CheckpointStoreClassStatus()


# --- who may use it ---


@pytest.mark.parametrize(
    ("spec", "labels", "expected"),
    [
        ({}, {}, False),
        (None, {}, False),
        ({"allowedNamespaces": {"from": "All"}}, {}, True),
        ({"allowedNamespaces": {"from": "All"}, "backend": {"nonsense": 1}}, {}, True),
        ({"allowedNamespaces": {"from": "all"}}, {}, False),
        ({"allowedNamespaces": {"from": "All", "extra": 1}}, {}, False),
        ({"allowedNamespaces": {"from": "Selector", "selector": {"matchLabels": {"team": "a"}}}}, {"team": "a"}, True),
        ({"allowedNamespaces": {"from": "Selector"}}, {"team": "a"}, False),
        ({"allowedNamespaces": "All"}, {}, False),
    ],
)
def test_who_may_use_a_class_is_read_without_the_rest_and_denied_in_doubt(
    spec: Any, labels: dict[str, str], expected: bool
) -> None:
    assert allowed_namespaces({"spec": spec}).allow(labels) is expected


def test_allowed_namespaces_of_a_valid_class_are_read_alike() -> None:
    body = store_class(with_memory(allowedNamespaces={"from": "All"}))
    assert allowed_namespaces(body) == AllowedNamespaces.model_validate({"from": "All"})


# --- which stores it has ---


def body(name: str, spec: Any, status: Any = None) -> dict[str, Any]:
    return {"metadata": {"namespace": "a", "name": name, "uid": name}, "spec": spec, "status": status or {}}


def names(stores: tuple[StoreIdentity, ...]) -> list[str]:
    return [each.name for each in stores]


def test_a_store_is_bound_once_it_was_provisioned() -> None:
    index = StoreIndex()
    index.remember(body("waiting", {"className": "x"}))
    index.remember(body("bound", {"className": "x"}, {"backend": "redis", "className": "x"}))
    index.remember(body("of-old", {"className": "x"}, {"backend": "redis"}))
    index.remember(body("renamed", {"className": "y"}, {"backend": "redis", "className": "x"}))
    index.remember(body("inline", {"backend": {"memory": {}}}, {"backend": "memory"}))
    index.remember(body("undecided", {}))

    assert names(index.of_class("x")) == ["bound", "of-old", "waiting"]
    assert names(index.bound_to("x")) == ["bound", "of-old", "renamed"]
    assert names(index.undecided()) == ["undecided"]


def test_classes_hear_when_a_store_comes_and_goes_and_not_in_between() -> None:
    index = StoreIndex()
    heard: list[str] = []
    index.on_bound(heard.append)

    index.remember(body("s", {"className": "x"}))
    assert heard == []
    index.remember(body("s", {"className": "x"}, {"backend": "redis", "className": "x"}))
    index.remember(body("s", {"className": "x", "suspend": True}, {"backend": "redis", "className": "x"}))
    assert heard == ["x"]
    index.forget("s")
    index.forget("s")
    assert heard == ["x", "x"]
