"""The API server (schema and CEL) and the controller (models) judge every sample alike, in our words."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from locus_operator.api import (
    InvalidSpecError,
    check_class_update,
    check_update,
    parse_store,
    parse_store_class,
)
from locus_operator.api.crd import crd_manifests
from locus_operator.api.rules import FieldError
from tests.unit.operator.api_server import ApiServer
from tests.unit.operator.change_samples import ACCEPTED_CHANGES, REFUSED_CHANGES, Change
from tests.unit.operator.class_samples import INVALID_CLASSES, VALID_CLASSES
from tests.unit.operator.samples import (
    BACKENDS,
    INVALID_STORES,
    VALID_STORES,
    Spec,
    Wrong,
    on,
    store,
    store_class,
    with_memory,
)

STORES, CLASSES = (ApiServer(manifest) for manifest in crd_manifests())


def errors(check: Callable[[], object]) -> set[FieldError]:
    with pytest.raises(InvalidSpecError) as raised:
        check()
    assert all(str(each) in str(raised.value) for each in raised.value.errors)
    return set(raised.value.errors)


def paths(found: set[FieldError]) -> set[str]:
    return {each.path for each in found}


@pytest.mark.parametrize("spec", VALID_STORES.values(), ids=VALID_STORES)
def test_both_accept_a_valid_store(spec: Spec) -> None:
    assert STORES.admit(store(spec)) == set()
    assert parse_store(store(spec)).metadata.name == "support"


@pytest.mark.parametrize("spec", VALID_CLASSES.values(), ids=VALID_CLASSES)
def test_both_accept_a_valid_class(spec: Spec) -> None:
    assert CLASSES.admit(store_class(spec)) == set()
    assert parse_store_class(store_class(spec)).metadata.name == "shared"


def refuse_alike(server: ApiServer, parse: Callable[[Mapping[str, Any]], object], body: Spec, wrong: Wrong) -> None:
    by_server, by_controller = server.admit(body), errors(lambda: parse(body))
    assert [wrong.words in each.message for each in by_controller if each.path == wrong.path] == [True]
    if all(each.message for each in by_server):
        assert by_server == by_controller
    else:
        assert paths(by_server) == paths(by_controller)


@pytest.mark.parametrize("wrong", INVALID_STORES.values(), ids=INVALID_STORES)
def test_both_refuse_an_invalid_store_and_say_what_to_write(wrong: Wrong) -> None:
    refuse_alike(STORES, parse_store, store(wrong.spec), wrong)


@pytest.mark.parametrize("wrong", INVALID_CLASSES.values(), ids=INVALID_CLASSES)
def test_both_refuse_an_invalid_class_and_say_what_to_write(wrong: Wrong) -> None:
    refuse_alike(CLASSES, parse_store_class, store_class(wrong.spec), wrong)


@pytest.mark.parametrize("change", REFUSED_CHANGES.values(), ids=REFUSED_CHANGES)
def test_both_refuse_to_change_what_is_fixed_at_creation(change: Change) -> None:
    old, new = store(change.old), store(change.new)
    by_controller = errors(lambda: check_update(parse_store(new), parse_store(old)))
    assert STORES.admit(new, old) == by_controller
    assert paths(by_controller) == {change.path}
    assert change.words in by_controller.pop().message


@pytest.mark.parametrize(("before", "after"), ACCEPTED_CHANGES.values(), ids=ACCEPTED_CHANGES)
def test_both_accept_to_change_the_rest(before: Spec, after: Spec) -> None:
    old, new = store(before), store(after)
    assert STORES.admit(new, old) == set()
    check_update(parse_store(new), parse_store(old))


def test_an_inline_backend_cannot_become_a_class() -> None:
    old, new = store(on("memory")), store({"className": "shared"})
    assert STORES.admit(new, old) == errors(lambda: check_update(parse_store(new), parse_store(old)))


def test_the_order_of_access_modes_may_change() -> None:
    # Only here: the API server compares sets without order, cel-python knows no sets.
    modes = ["ReadWriteOnce", "ReadWriteMany"]
    old, new = (parse_store(store(on("file", accessModes=each))) for each in (modes, modes[::-1]))
    check_update(new, old)


def test_a_class_keeps_its_kind_of_backend() -> None:
    old, new = store_class(on("postgresql")), store_class(on("redis"))
    by_controller = errors(lambda: check_class_update(parse_store_class(new), parse_store_class(old)))
    assert paths(by_controller) == {"spec.backend"}
    assert CLASSES.admit(new, old) == by_controller


def test_every_rule_is_broken_by_some_sample() -> None:
    broken = {error.message for wrong in INVALID_STORES.values() for error in STORES.admit(store(wrong.spec))}
    broken |= {error.message for wrong in INVALID_CLASSES.values() for error in CLASSES.admit(store_class(wrong.spec))}
    broken |= {
        error.message
        for change in REFUSED_CHANGES.values()
        for error in STORES.admit(store(change.new), store(change.old))
    }
    removal = STORES.admit(store({"className": "shared"}), store(on("memory")))
    broken |= {error.message for error in removal}
    declared = {each["message"] for server in (STORES, CLASSES) for each in rules_of(server.schema)}
    assert declared - broken == set()


def rules_of(schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    children = [*schema.get("properties", {}).values(), schema.get("items", {})]
    found = list(schema.get("x-kubernetes-validations", ()))
    return found + [rule for child in children if child for rule in rules_of(child)]


def test_all_errors_are_told_at_once() -> None:
    body = store(with_memory(suspend="yes", retention={"maxAge": "x"}, deletionPolicy="No"))
    assert paths(errors(lambda: parse_store(body))) == {"spec.suspend", "spec.retention.maxAge", "spec.deletionPolicy"}


def test_all_broken_rules_are_told_at_once() -> None:
    body = store(on("redis", addresses=["a:1", "b:1"], ca={}) | {"className": "shared"})
    by_controller = errors(lambda: parse_store(body))
    assert paths(by_controller) == {
        "spec",
        "spec.backend.redis.addresses",
        "spec.backend.redis.tls",
        "spec.backend.redis.ca",
    }
    assert STORES.admit(body) == by_controller


def test_the_message_quotes_what_was_written_but_no_login() -> None:
    [bad] = errors(lambda: parse_store(store(with_memory(retention={"maxAge": "3 months"}))))
    assert bad.message.endswith('(not "3 months")')
    [login] = errors(lambda: parse_store(store(on("http", baseUrl="https://user:secret@host/"))))
    assert "secret" not in login.message


def test_a_name_that_fits_no_label_is_refused() -> None:
    longest, too_long = store(on("memory"), name="a" * 63), store(on("memory"), name="a" * 64)
    assert STORES.admit(longest) == set()
    assert parse_store(longest).metadata.name == "a" * 63
    assert paths(STORES.admit(too_long)) == paths(errors(lambda: parse_store(too_long))) == {"metadata.name"}


def test_another_kind_of_object_is_refused() -> None:
    assert paths(errors(lambda: parse_store(store_class(on("memory"))))) == {"kind"}


def test_a_status_that_cannot_be_read_does_not_stop_the_store() -> None:
    body = store(on("memory")) | {"status": {"conditions": [{"type": "Ready"}]}}
    assert parse_store(body).status.conditions == ()


def test_a_status_is_read_back_as_it_was_written() -> None:
    condition = {
        "type": "Ready",
        "status": "False",
        "observedGeneration": 3,
        "lastTransitionTime": "2026-01-02T03:04:05Z",
        "reason": "InvalidSpec",
        "message": "spec: write …",
    }
    status = {"observedGeneration": 3, "conditions": [condition], "binding": {"name": "b"}, "claims": {"schema": "s"}}
    body = store(on("memory")) | {"status": status}
    found = parse_store(body).status
    assert STORES.admit(body) == set()
    assert found.model_dump(mode="json", by_alias=True, exclude_unset=True) == status


@pytest.mark.parametrize("kind", BACKENDS)
def test_the_union_knows_its_member(kind: str) -> None:
    backend = parse_store(store(on(kind))).spec.backend
    assert backend is not None
    assert backend.kind == kind
    assert backend.model_dump(by_alias=True, exclude_none=True).keys() == {kind}
    assert backend.member == backend.get(backend.kind)


@pytest.mark.parametrize(
    ("credentials", "seconds"),
    [
        ({}, 3_600),
        ({"rotationPeriod": "30d"}, 3_600),
        ({"rotationPeriod": "10m"}, 300),
        ({"rotationPeriod": "1s"}, 1),
        ({"rotationPeriod": "30d", "overlap": "2h"}, 7_200),
    ],
)
def test_the_overlap_has_a_default_shorter_than_the_period(credentials: Spec, seconds: int) -> None:
    assert parse_store(store(with_memory(credentials=credentials))).spec.credentials.overlap_seconds == seconds


@pytest.mark.parametrize(
    ("allowed", "labels", "expected"),
    [
        ({}, {}, False),
        ({"from": "All"}, {}, True),
        ({"from": "Selector", "selector": {}}, {}, True),
        ({"from": "Selector", "selector": {"matchLabels": {"team": "a"}}}, {"team": "a", "x": "y"}, True),
        ({"from": "Selector", "selector": {"matchLabels": {"team": "a"}}}, {"team": "b"}, False),
    ],
)
def test_a_class_allows_namespaces(allowed: Spec, labels: dict[str, str], expected: bool) -> None:
    spec = parse_store_class(store_class(with_memory(allowedNamespaces=allowed))).spec
    assert spec.allowed_namespaces.allow(labels) is expected


@pytest.mark.parametrize(
    ("expression", "labels", "expected"),
    [
        ({"operator": "In", "values": ["a"]}, {"team": "a"}, True),
        ({"operator": "In", "values": ["a"]}, {"team": "b"}, False),
        ({"operator": "In", "values": ["a"]}, {}, False),
        ({"operator": "NotIn", "values": ["a"]}, {"team": "a"}, False),
        ({"operator": "NotIn", "values": ["a"]}, {}, True),
        ({"operator": "Exists"}, {"team": ""}, True),
        ({"operator": "Exists"}, {}, False),
        ({"operator": "DoesNotExist"}, {"team": ""}, False),
        ({"operator": "DoesNotExist"}, {}, True),
    ],
)
def test_a_selector_matches_as_in_kubernetes(expression: Spec, labels: dict[str, str], expected: bool) -> None:
    selector = {"matchExpressions": [{"key": "team"} | expression]}
    found = parse_store(store(with_memory(pods={"selector": selector}))).spec.pods.selector
    assert found is not None
    assert found.matches(labels) is expected
