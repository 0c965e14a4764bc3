"""What the API server lets the controller write, beside its permissions: no token of somebody else's account."""

import functools
from collections.abc import Iterator
from typing import Any

import celpy
import pytest
from celpy import celtypes
from celpy.adapter import json_to_cel
from kubernetes import client

from locus_operator.constants import BINDING_TYPE_PREFIX
from locus_operator.kube_certificates import TLS_SECRET_TYPE
from tests.chart.helm import named, of_kind, render

Object = dict[str, Any]
KINDS = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
CONTROLLER = "system:serviceaccount:locus-system:locus-operator-controller"


@functools.cache
def policy() -> Object:
    spec: Object = named(render(), KINDS[0], "locus-operator-secrets")["spec"]
    return spec


def holds(expression: str, **context: Any) -> bool:
    environment = celpy.Environment()
    program = environment.program(environment.compile(expression))
    result = program.evaluate({name: json_to_cel(value) for name, value in context.items()})
    assert isinstance(result, celtypes.BoolType)
    return bool(result)


def refused(secret_type: str, user: str = CONTROLLER) -> bool:
    """Decide as the API server does, about a Secret that a user writes."""
    context = {"request": {"userInfo": {"username": user}}, "object": {"type": secret_type}}
    concerned = all(holds(each["expression"], **context) for each in policy()["matchConditions"])
    return concerned and not all(holds(each["expression"], **context) for each in policy()["validations"])


@pytest.mark.parametrize(
    "secret_type",
    [
        "kubernetes.io/service-account-token",
        "bootstrap.kubernetes.io/token",
        "Opaque",
        "kubernetes.io/dockerconfigjson",
    ],
)
def test_the_controller_writes_nothing_that_gives_another_identity(secret_type: str) -> None:
    assert refused(secret_type)


@pytest.mark.parametrize("secret_type", [f"{BINDING_TYPE_PREFIX}postgresql", TLS_SECRET_TYPE])
def test_it_writes_what_it_is_there_for(secret_type: str) -> None:
    assert not refused(secret_type)


def test_others_are_not_concerned() -> None:
    assert not refused("Opaque", "system:serviceaccount:locus-system:locus-operator-webhook")
    assert not refused("kubernetes.io/service-account-token", "alice")


def test_secrets_that_are_created_or_changed_are_looked_at_and_doubt_is_a_no() -> None:
    (rule,) = policy()["matchConstraints"]["resourceRules"]
    assert rule == {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": ["CREATE", "UPDATE"],
        "resources": ["secrets"],
    }
    assert policy()["failurePolicy"] == "Fail"
    binding = named(render(), KINDS[1], "locus-operator-secrets")["spec"]
    assert binding == {"policyName": "locus-operator-secrets", "validationActions": ["Deny"]}


def test_it_names_the_account_that_the_controller_has() -> None:
    values: Object = {
        "watchNamespaces": ["agents"],
        "controller": {"serviceAccount": {"create": False, "name": "mine"}},
    }
    (spec,) = [each["spec"] for each in of_kind(render(values), KINDS[0])]
    assert spec["matchConditions"][0]["expression"].endswith('"system:serviceaccount:locus-system:mine"')


@pytest.mark.parametrize(
    ("values", "version"), [({}, "1.29.9"), ({"rbac": {"limitSecrets": False}}, "1.33.0")], ids=["old", "unwanted"]
)
def test_it_is_left_out(values: Object, version: str) -> None:
    assert of_kind(render(values, version=version), *KINDS) == []


@pytest.mark.parametrize("kind", KINDS)
def test_its_fields_are_those_of_the_api(kind: str) -> None:
    # The API server of the tests is older than the kind.
    (found,) = of_kind(render(), kind)
    assert list(unknown_fields(found, f"V1{kind}")) == []
    assert list(unknown_fields({"spec": {"policy": {}}}, f"V1{kind}")) == ["spec.policy"]


def unknown_fields(node: Any, model: str, path: str = "") -> Iterator[str]:
    """Yield what the client's models do not know."""
    if model.startswith("List["):
        for each in node:
            yield from unknown_fields(each, model.removeprefix("List[").removesuffix("]"), path)
    elif isinstance(node, dict) and (described := getattr(client, model, None)):
        types = {described.attribute_map[name]: kind for name, kind in described.openapi_types.items()}
        for key, value in node.items():
            below = f"{path}.{key}".removeprefix(".")
            if key not in types:
                yield below
            else:
                yield from unknown_fields(value, types[key], below)
