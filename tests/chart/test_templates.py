"""Single templates: CRDs by version, the webhook's registration."""

import json
import re
from typing import Any

import pytest

from locus_operator.api.crd import crd_manifests
from tests.chart.helm import named, of_kind, render
from tests.e2e.operator_process import webhook_configuration

Object = dict[str, Any]


class TestCRDs:
    @pytest.mark.parametrize(("version", "cel"), [("1.20.2", False), ("1.24.17", False), ("1.28.0", True)])
    def test_they_are_those_of_the_models_as_far_as_the_server_knows_them(self, version: str, cel: bool) -> None:
        crds = of_kind(render(version=version), "CustomResourceDefinition")
        wanted = {each["metadata"]["name"]: each["spec"] for each in crd_manifests(cel=cel)}
        assert {each["metadata"]["name"]: each["spec"] for each in crds} == wanted

    def test_rules_without_their_field_path_are_for_servers_before_1_28(self) -> None:
        between, wanted = (of_kind(render(version=each), "CustomResourceDefinition") for each in ("1.27.9", "1.28.0"))
        text = json.dumps([each["spec"] for each in between])
        assert "x-kubernetes-validations" in text
        assert "fieldPath" not in text
        without = re.sub(r'"fieldPath": "[^"]*", ', "", json.dumps([each["spec"] for each in wanted]))
        assert text == without

    def test_providers_of_kubernetes_may_append_to_the_version(self) -> None:
        crds = of_kind(render(version="v1.24.17-eks-1"), "CustomResourceDefinition")
        assert "x-kubernetes-validations" not in json.dumps(crds)

    @pytest.mark.parametrize(("keep", "annotations"), [(True, {"helm.sh/resource-policy": "keep"}), (False, {})])
    def test_they_stay_unless_told_otherwise(self, keep: bool, annotations: Object) -> None:
        for crd in of_kind(render({"crds": {"keep": keep}}), "CustomResourceDefinition"):
            assert crd["metadata"].get("annotations", {}) == annotations

    def test_they_keep_their_own_labels(self) -> None:
        crd = named(render(), "CustomResourceDefinition", "checkpointstores.memory.locus.dev")
        assert crd["metadata"]["labels"]["servicebinding.io/provisioned-service"] == "true"

    def test_where_they_go_with_the_chart_the_guard_looks_at_all_stores(self) -> None:
        def arguments(keep: bool) -> Any:
            job = named(render({"crds": {"keep": keep}}), "Job", "locus-operator-uninstall-guard")
            return job["spec"]["template"]["spec"]["containers"][0].get("args")

        assert arguments(keep=True) is None
        assert arguments(keep=False) == ["--every"]


class TestWebhookConfiguration:
    def test_it_is_the_one_that_the_other_tests_use_with_namespaces_excluded(self) -> None:
        objects = render({"webhook": {"clientConfig": {"url": "https://webhook.example.com/"}}})
        tested = webhook_configuration("https://webhook.example.com", b"")
        ours = named(objects, "MutatingWebhookConfiguration", "locus-operator")
        excluded = {"kubernetes.io/metadata.name": ["kube-system", "locus-system"]}
        for webhook, other in zip(ours["webhooks"], tested["webhooks"], strict=True):
            expressions = webhook["namespaceSelector"].pop("matchExpressions")
            assert {each["key"]: each["values"] for each in expressions if each["operator"] == "NotIn"} == excluded
            assert len(expressions) == 1
            del other["clientConfig"]["caBundle"]
            (rule,) = webhook["rules"]
            assert rule.pop("scope") == "Namespaced"
            assert webhook == {"namespaceSelector": {}} | other

    @pytest.mark.parametrize("more", [{}, {"watchNamespaces": ["agents", "kube-system", "locus-system"]}])
    def test_the_operators_own_namespace_and_kube_system_are_always_left_alone(self, more: Object) -> None:
        # Whatever fails in there: the webhook, the network and DNS have to be able to come back without a webhook.
        values = {"webhook": {"excludedNamespaces": ["monitoring"], "failurePolicy": "Fail"}, **more}
        for webhook in of_kind(render(values), "MutatingWebhookConfiguration")[0]["webhooks"]:
            expressions = webhook["namespaceSelector"]["matchExpressions"]
            (excluded,) = [each["values"] for each in expressions if each["operator"] == "NotIn"]
            assert excluded == ["kube-system", "locus-system", "monitoring"]

    def test_it_names_the_service_by_default(self) -> None:
        (first, second) = named(render(), "MutatingWebhookConfiguration", "locus-operator")["webhooks"]
        service = named(render(), "Service", first["clientConfig"]["service"]["name"])
        assert first["clientConfig"]["service"]["port"] in [each["port"] for each in service["spec"]["ports"]]
        assert [each["clientConfig"]["service"]["path"] for each in (first, second)] == ["/mutate", "/mutate/selected"]

    def test_it_is_for_watched_namespaces_only(self) -> None:
        objects = render({"watchNamespaces": ["b", "a"]})
        for webhook in of_kind(objects, "MutatingWebhookConfiguration")[0]["webhooks"]:
            expressions = webhook["namespaceSelector"]["matchExpressions"]
            assert {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["a", "b"]} in expressions

    def test_conditions_of_ones_own_are_added(self) -> None:
        selector: Object = {
            "matchLabels": {"team": "agents"},
            "matchExpressions": [{"key": "stage", "operator": "Exists"}],
        }
        objects = render({"webhook": {"namespaceSelector": selector, "failurePolicy": "Fail", "timeoutSeconds": 3}})
        (pods, selected) = named(objects, "MutatingWebhookConfiguration", "locus-operator")["webhooks"]
        assert pods["namespaceSelector"]["matchLabels"] == {"team": "agents"}
        assert selected["namespaceSelector"]["matchLabels"] == {
            "team": "agents",
            "memory.locus.dev/injection": "enabled",
        }
        for webhook in (pods, selected):
            assert selector["matchExpressions"][0] in webhook["namespaceSelector"]["matchExpressions"]
            assert (webhook["failurePolicy"], webhook["timeoutSeconds"]) == ("Fail", 3)
