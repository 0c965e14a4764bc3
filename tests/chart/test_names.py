"""Names and labels: legal, stable, and never those of another release."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.helm import COMBINATIONS, NAMESPACE, HelmError, named, of_kind, pod_templates, render, rendered

Object = dict[str, Any]
LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
LONGEST = "a-release-whose-name-has-all-characters-that-helm-lets"
"""53: more are refused by Helm itself."""
NAMED_AFTER_A_LABEL = {"Deployment", "Service", "Job", "Pod", "Certificate", "Issuer"}
"""Kinds whose names become labels or host names: 63 characters at most."""
NO_NAMESPACE = {"ClusterRole", "ClusterRoleBinding", "MutatingWebhookConfiguration"}
LONG = [
    {"release": LONGEST[:53]},
    {"release": "b" * 53, "namespace": "n" * 63},
    {"release": "12e4567", "namespace": "456", "values": {"fullnameOverride": "memory"}},
    {"release": "0123456", "values": {"fullnameOverride": "memory", "watchNamespaces": ["789"]}},
    {"release": "my-locus-operator"},
    {"values": {"fullnameOverride": "x" * 63}},
    {"values": {"nameOverride": "y" * 63, "watchNamespaces": ["789", "n" * 63]}},
]


class NoTwice(yaml.SafeLoader):
    """Refuses a key that is there twice, as the loaders of Flux and kustomize do."""


def _mapping(loader: NoTwice, node: yaml.MappingNode) -> Object:
    keys = [loader.construct_object(key) for key, _ in node.value]
    assert len(keys) == len(set(keys)), keys
    return {
        loader.construct_object(key, deep=True): loader.construct_object(value, deep=True) for key, value in node.value
    }


NoTwice.add_constructor("tag:yaml.org,2002:map", _mapping)


def strings(node: Any, *keys: str) -> Iterator[Any]:
    """Yield the values of some keys, at whatever depth, those of lists one by one."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in keys:
                yield from value if isinstance(value, list) else [value]
            yield from strings(value, *keys)
    elif isinstance(node, list):
        for each in node:
            yield from strings(each, *keys)


def without_crds(values: Object | None = None, **place: str) -> list[Object]:
    """Render the chart but for the CRDs, in whose schemas names are names of fields."""
    return render({**(values or {}), "crds": {"install": False}}, **place)


@pytest.mark.parametrize("values", COMBINATIONS, ids=lambda path: path.stem)
def test_no_key_is_there_twice(values: Path) -> None:
    assert list(yaml.load_all(rendered(values.read_text()), Loader=NoTwice))


@pytest.mark.parametrize("case", LONG, ids=lambda case: str(case)[:60])
class TestLimits:
    def test_names_and_labels_are_legal(self, case: Object) -> None:
        for each in without_crds(**case):
            metadata = each["metadata"]
            if each["kind"] in NAMED_AFTER_A_LABEL:
                assert DNS_LABEL.fullmatch(metadata["name"]), metadata["name"]
            for labels in strings(each, "labels", "matchLabels"):
                assert all(isinstance(value, str) and LABEL.fullmatch(value) for value in labels.values()), labels

    def test_what_looks_like_a_number_stays_text(self, case: Object) -> None:
        for each in without_crds(**case):
            for value in strings(each, "name", "namespace", "resourceNames", "serviceAccountName", "args", "value"):
                assert isinstance(value, str), (each["kind"], each["metadata"]["name"], value)

    def test_parts_do_not_share_a_name(self, case: Object) -> None:
        keys = [(each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"]) for each in render(**case)]
        assert len(keys) == len(set(keys))


@pytest.mark.parametrize("release", ["12e4567", "my.release"])
def test_a_release_no_service_can_be_called_after_needs_another_name(release: str) -> None:
    with pytest.raises(HelmError, match="fullnameOverride: write one"):
        render(release=release)


class TestTwoReleases:
    @pytest.mark.parametrize("override", [{}, {"fullnameOverride": "memory"}, {"nameOverride": "memory"}])
    def test_in_two_namespaces_share_no_object(self, override: Object) -> None:
        def objects(namespace: str, watched: str) -> set[tuple[str, str, str]]:
            values = {"watchNamespaces": [watched], "crds": {"install": False}, **override}
            found = render(values, namespace=namespace)
            return {(each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"]) for each in found}

        both = objects("team-a", "agents") & objects("team-b", "agents")
        assert both == set()

    def test_have_leases_of_their_own(self) -> None:
        first, second = (leases(render(release=release)) for release in ("one", "two"))
        assert first
        assert not first & second


def leases(objects: list[Object]) -> set[str]:
    """Names of the Leases that a release's controllers hold."""
    rules = [rule for role in of_kind(objects, "Role") for rule in role["rules"]]
    return {name for rule in rules if rule["resources"] == ["leases"] for name in rule.get("resourceNames", [])}


class TestLabels:
    def test_ones_own_replace_part_of_and_none_by_which_pods_are_found(self) -> None:
        own = {"app.kubernetes.io/part-of": "agents", "app.kubernetes.io/name": "mine", "team": "platform"}
        for each in render({"commonLabels": own}):
            labels = each["metadata"]["labels"]
            assert (labels["app.kubernetes.io/part-of"], labels["team"]) == ("agents", "platform")
            assert labels["app.kubernetes.io/name"] == "locus-operator"

    def test_all_pods_have_them(self) -> None:
        objects = render({"commonLabels": {"team": "platform"}, "hooks": {"podLabels": {"cost": "1"}}})
        templates = [each["spec"]["template"] for each in of_kind(objects, "Deployment", "Job")]
        pods = [each["metadata"]["labels"] for each in (*templates, *of_kind(objects, "Pod"))]
        assert len(pods) == len(pod_templates(objects))
        assert all(each["team"] == "platform" for each in pods)
        assert len([each for each in pods if each.get("cost") == "1"]) == 2  # those of hooks


class TestAccounts:
    def test_none_is_default(self) -> None:
        with pytest.raises(HelmError, match=r"webhook\.serviceAccount\.name: write the name of the account"):
            render({"webhook": {"serviceAccount": {"create": False}}})

    def test_the_webhook_does_not_get_the_controllers_permissions(self) -> None:
        shared = {"serviceAccount": {"create": False, "name": "mine"}}
        with pytest.raises(HelmError, match=r"webhook\.serviceAccount\.name: write another than the controller's"):
            render({"controller": shared, "webhook": shared})

    def test_ones_own_gets_the_permissions(self) -> None:
        objects = render({"controller": {"serviceAccount": {"create": False, "name": "mine"}}})
        binding = named(objects, "ClusterRoleBinding", "locus-operator-controller")
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "mine", "namespace": NAMESPACE}]
        assert "mine" not in [each["metadata"]["name"] for each in of_kind(objects, "ServiceAccount")]

    def test_without_permissions_of_their_own_hooks_use_the_controllers(self) -> None:
        objects = render({"rbac": {"create": False}})
        accounts = {name: spec["serviceAccountName"] for name, spec in pod_templates(objects).items()}
        assert accounts == {
            "locus-operator-controller": "locus-operator-controller",
            "locus-operator-webhook": "locus-operator-webhook",
            "locus-operator-uninstall-guard": "locus-operator-controller",
            "locus-operator-test": "locus-operator-controller",
        }
        assert not of_kind(objects, *NO_NAMESPACE - {"MutatingWebhookConfiguration"}, "Role", "RoleBinding")
