"""The rendered manifest of a release, for those without Helm."""

import functools
from typing import Any

import pytest
import yaml

from hack import manifests
from locus_operator.api.crd import crd_manifests
from tests.chart.helm import of_kind, pod_templates

IMAGE = f"registry.example/locus-operator@sha256:{'a' * 64}"
CLUSTER_WIDE = {
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "MutatingWebhookConfiguration",
    "Namespace",
}


@functools.cache
def rendered(image: str = "") -> list[dict[str, Any]]:
    return [each for each in yaml.load_all(manifests.operator(image), Loader=yaml.CSafeLoader) if each]


def test_the_namespace_comes_first_and_everything_lies_in_it() -> None:
    first, *others = rendered()
    assert (first["kind"], first["metadata"]["name"]) == ("Namespace", "locus-system")
    places = {each["metadata"].get("namespace") for each in others if each["kind"] not in CLUSTER_WIDE}
    assert places == {"locus-system"}


def test_nothing_in_it_is_for_helm_alone() -> None:
    for each in rendered():
        assert "helm.sh/hook" not in each["metadata"].get("annotations", {}), each["metadata"]["name"]
    assert of_kind(rendered(), "Job", "Pod") == []


def test_definitions_are_whole() -> None:
    found = {each["metadata"]["name"]: each["spec"] for each in of_kind(rendered(), "CustomResourceDefinition")}
    assert found == {each["metadata"]["name"]: each["spec"] for each in crd_manifests()}


def test_a_release_names_its_image_by_digest() -> None:
    images = {
        container["image"] for spec in pod_templates(rendered(IMAGE)).values() for container in spec["containers"]
    }
    assert len(images) == 1
    (image,) = images
    assert image.startswith("registry.example/locus-operator")
    assert image.endswith(f"@sha256:{'a' * 64}")


def test_an_image_that_can_move_is_refused() -> None:
    with pytest.raises(SystemExit, match="by its digest"):
        manifests.operator("registry.example/locus-operator:latest")
