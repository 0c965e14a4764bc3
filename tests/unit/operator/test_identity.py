"""Who may work with the operator's own identity at a cloud."""

from typing import Any

import pytest

from locus_operator.api import CheckpointStoreSpec, InvalidSpecError, parse_store
from locus_operator.controller.tenancy import check_identity
from locus_operator.inheritance import effective_spec


def spec(auth: dict[str, Any]) -> CheckpointStoreSpec:
    bucket = {"compartmentId": "ocid1.compartment.oc1..a", "region": "eu-frankfurt-1", "auth": {"operator": auth}}
    manifest = {
        "apiVersion": "memory.locus.dev/v1alpha1",
        "kind": "CheckpointStore",
        "metadata": {"name": "s", "namespace": "tenant"},
        "spec": {"backend": {"ociBucket": bucket}},
    }
    return effective_spec(parse_store(manifest))


AMBIENT = [{}, {"type": "workloadIdentity"}, {"type": "instancePrincipal"}, {"type": "resourcePrincipal"}]


@pytest.mark.parametrize("auth", AMBIENT)
def test_a_store_of_its_own_may_not(auth: dict[str, Any]) -> None:
    with pytest.raises(InvalidSpecError, match=r"auth\.operator\.type: .* write type: apiKey .* or className"):
        check_identity(spec(auth), allowed=False)


@pytest.mark.parametrize("auth", AMBIENT)
def test_a_store_of_a_class_may(auth: dict[str, Any]) -> None:
    check_identity(spec(auth).model_copy(update={"class_name": "buckets"}), allowed=False)


def test_a_key_of_its_own_may_be_used() -> None:
    check_identity(spec({"type": "apiKey", "secretRef": {"name": "key"}}), allowed=False)


@pytest.mark.parametrize("auth", AMBIENT)
def test_who_trusts_everybody_may_allow_it(auth: dict[str, Any]) -> None:
    check_identity(spec(auth), allowed=True)
