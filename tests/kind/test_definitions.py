"""A current API server takes the CRDs, CEL rules and all, and judges every sample as the controller does."""

import json
from typing import Any

import pytest

from tests.e2e.control_plane import KubectlError
from tests.kind.cluster import Cluster
from tests.unit.operator.change_samples import ACCEPTED_CHANGES, REFUSED_CHANGES, Change
from tests.unit.operator.class_samples import INVALID_CLASSES, VALID_CLASSES
from tests.unit.operator.samples import INVALID_STORES, VALID_STORES, Spec, Wrong, store, store_class

pytestmark = pytest.mark.kind

VALID = [store(spec) for spec in VALID_STORES.values()] + [store_class(spec) for spec in VALID_CLASSES.values()]
INVALID = [(store(each.spec), each) for each in INVALID_STORES.values()] + [
    (store_class(each.spec), each) for each in INVALID_CLASSES.values()
]


def create(cluster: Cluster, manifest: dict[str, Any], *flags: str) -> str:
    # Fields that the schema does not declare are in some samples: strict, as kubectl is by default.
    return cluster.kubectl("create", "--filename=-", "--validate=strict", *flags, input=json.dumps(manifest))


@pytest.mark.parametrize("manifest", VALID, ids=[*VALID_STORES, *VALID_CLASSES])
def test_what_is_valid_is_accepted(cluster: Cluster, manifest: dict[str, Any]) -> None:
    create(cluster, manifest, "--dry-run=server")


@pytest.mark.parametrize(("manifest", "wrong"), INVALID, ids=[*INVALID_STORES, *INVALID_CLASSES])
def test_what_is_invalid_is_refused(cluster: Cluster, manifest: dict[str, Any], wrong: Wrong) -> None:
    with pytest.raises(KubectlError) as refused:
        create(cluster, manifest, "--dry-run=server")
    # At the field, or where the field is.
    assert wrong.path.rpartition(".")[2].partition("[")[0] in str(refused.value)


@pytest.fixture
def support(cluster: Cluster) -> Any:
    """The store of the samples does not outlive its test."""
    yield
    cluster.kubectl("delete", "cps/support", "--namespace=agents", "--ignore-not-found")


@pytest.mark.usefixtures("support")
class TestChanges:
    @pytest.mark.parametrize("change", REFUSED_CHANGES.values(), ids=REFUSED_CHANGES)
    def test_what_is_fixed_at_creation_stays(self, cluster: Cluster, change: Change) -> None:
        create(cluster, store(change.old))
        with pytest.raises(KubectlError) as refused:
            self.replace(cluster, change.new)
        assert change.words in str(refused.value)

    @pytest.mark.parametrize(("before", "after"), ACCEPTED_CHANGES.values(), ids=ACCEPTED_CHANGES)
    def test_the_rest_may_change(self, cluster: Cluster, before: Spec, after: Spec) -> None:
        create(cluster, store(before))
        self.replace(cluster, after)

    def replace(self, cluster: Cluster, spec: Spec) -> None:
        cluster.kubectl("replace", "--filename=-", input=json.dumps(store(spec)))
