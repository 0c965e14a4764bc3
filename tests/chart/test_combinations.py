"""Every documented combination of values, rendered by the real helm."""

from pathlib import Path

import pytest

from tests.chart.helm import CHART, COMBINATIONS, NAMESPACE, helm, of_kind, pod_templates, render

VERSIONS = ("1.20.2", "1.33.0")
WITHOUT_NAMESPACE = {
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "MutatingWebhookConfiguration",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
}

combination = pytest.mark.parametrize("values", COMBINATIONS, ids=lambda path: path.stem)


def test_there_are_combinations() -> None:
    assert {path.name for path in COMBINATIONS} >= {"default-values.yaml", "namespaced-values.yaml"}


@combination
def test_lint_finds_nothing(values: Path) -> None:
    helm("lint", "--strict", CHART, f"--values={values}", f"--namespace={NAMESPACE}")


@combination
@pytest.mark.parametrize("version", VERSIONS)
class TestRendered:
    def test_no_object_is_there_twice(self, values: Path, version: str) -> None:
        keys = [
            (each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"])
            for each in render(values, version=version)
        ]
        assert len(keys) == len(set(keys))

    def test_objects_name_their_namespace(self, values: Path, version: str) -> None:
        for each in render(values, version=version):
            assert ("namespace" in each["metadata"]) == (each["kind"] not in WITHOUT_NAMESPACE), each["metadata"]

    def test_objects_have_the_recommended_labels(self, values: Path, version: str) -> None:
        for each in render(values, version=version):
            labels = each["metadata"]["labels"]
            assert labels["app.kubernetes.io/instance"] == "locus-operator"
            assert labels["app.kubernetes.io/managed-by"] == "Helm"
            assert labels["app.kubernetes.io/version"]

    def test_pods_use_accounts_that_the_chart_makes(self, values: Path, version: str) -> None:
        objects = render(values, version=version)
        accounts = {each["metadata"]["name"] for each in of_kind(objects, "ServiceAccount")}
        assert {spec["serviceAccountName"] for spec in pod_templates(objects).values()} <= accounts

    def test_grants_are_for_accounts_that_the_chart_makes(self, values: Path, version: str) -> None:
        objects = render(values, version=version)
        accounts = {each["metadata"]["name"] for each in of_kind(objects, "ServiceAccount")}
        roles = {
            (each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"])
            for each in of_kind(objects, "Role", "ClusterRole")
        }
        for binding in of_kind(objects, "RoleBinding", "ClusterRoleBinding"):
            assert {subject["name"] for subject in binding["subjects"]} <= accounts
            role = binding["roleRef"]
            assert (role["kind"], binding["metadata"].get("namespace"), role["name"]) in roles

    def test_selectors_of_services_budgets_and_policies_match_pods(self, values: Path, version: str) -> None:
        objects = render(values, version=version)
        pods = [each["spec"]["template"]["metadata"]["labels"] for each in of_kind(objects, "Deployment", "Job")]
        pods += [each["metadata"]["labels"] for each in of_kind(objects, "Pod")]
        wanted = [each["spec"]["selector"] for each in of_kind(objects, "Service")]
        wanted += [each["spec"]["selector"]["matchLabels"] for each in of_kind(objects, "PodDisruptionBudget")]
        wanted += [each["spec"]["podSelector"]["matchLabels"] for each in of_kind(objects, "NetworkPolicy")]
        for selector in wanted:
            assert len([labels for labels in pods if selector.items() <= labels.items()]) == 1, selector
