"""Classes in YAML files without a cluster: the same merging, bounds and default class."""

import pytest
import yaml

from locus_operator.api import InvalidSpecError
from locus_operator.engine import StoreRequest
from locus_operator.errors import LimitExceededError, RefusedError
from locus_operator.manifests import read_manifests
from tests.unit.operator.samples import Spec, on, store, store_class

DEFAULT = {"memory.locus.dev/is-default-class": "true"}


def marked(spec: Spec, name: str) -> Spec:
    body = store_class(spec, name)
    return body | {"metadata": body["metadata"] | {"annotations": DEFAULT}}


def request(*documents: Spec) -> StoreRequest:
    manifests = read_manifests([yaml.safe_dump_all(documents)])
    return manifests.request(manifests.stores[0], "local", None, volume_dir=None, allow_destructive=False)


def test_a_store_that_names_nothing_gets_the_default_class_of_the_files() -> None:
    found = request(marked(on("postgresql"), "shared"), store_class(on("memory"), "other"), store({}))
    assert found.spec.class_name == "shared"
    assert found.spec.backend is not None
    assert found.spec.backend.kind == "postgresql"
    assert [each.name for each in found.sources] == ["admin"]


def test_several_default_classes_are_no_choice() -> None:
    with pytest.raises(RefusedError, match="there are several: a, b"):
        request(marked(on("memory"), "b"), marked(on("memory"), "a"), store({}))


def test_a_backend_of_its_own_needs_no_default_class() -> None:
    assert request(marked(on("postgresql"), "shared"), store(on("memory"))).spec.class_name is None


def test_limits_hold_without_a_cluster() -> None:
    bounded = store_class(on("memory") | {"limits": {"maxRetention": "1d"}})
    with pytest.raises(LimitExceededError, match="write 1d or less"):
        request(bounded, store({"className": "shared", "retention": {"maxAge": "2d"}}))


def test_a_class_whose_parts_do_not_go_together_is_refused_as_input() -> None:
    broken = store_class(
        on("memory") | {"defaults": {"credentials": {"overlap": "2h"}}, "limits": {"maxRotationPeriod": "1h"}}
    )
    with pytest.raises(InvalidSpecError, match=r"spec\.defaults\.credentials\.overlap"):
        request(broken, store(on("memory")))
