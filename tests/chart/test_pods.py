"""How pods are replaced, moved and given their settings."""

from typing import Any

import pytest

from tests.chart.helm import HelmError, named, of_kind, render

Object = dict[str, Any]
BOTH = ("controller", "webhook")


def deployment(part: str, values: Object | None = None) -> Object:
    spec: Object = named(render(values), "Deployment", f"locus-operator-{part}")["spec"]
    return spec


class TestReplacement:
    @pytest.mark.parametrize("part", BOTH)
    @pytest.mark.parametrize("replicas", [1, 2, 5])
    def test_no_pod_goes_before_another_is_ready(self, part: str, replicas: int) -> None:
        strategy = deployment(part, {part: {"replicas": replicas}})["strategy"]
        assert strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}

    def test_where_ports_are_those_of_the_node_the_old_pod_makes_room(self) -> None:
        strategy = deployment("webhook", {"webhook": {"hostNetwork": True}})["strategy"]
        assert strategy["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}

    @pytest.mark.parametrize("part", BOTH)
    def test_few_old_replica_sets_are_kept(self, part: str) -> None:
        assert deployment(part)["revisionHistoryLimit"] == 3
        assert deployment(part, {"revisionHistoryLimit": 0})["revisionHistoryLimit"] == 0


class TestDrains:
    """A node is drained while a budget lets one pod go; a budget that lets none go blocks it for ever."""

    def test_a_single_replica_has_no_budget(self) -> None:
        values = {part: {"replicas": 1} for part in BOTH}
        assert of_kind(render(values), "PodDisruptionBudget") == []

    @pytest.mark.parametrize("part", BOTH)
    @pytest.mark.parametrize("allowed", [0, "0%", "00%", "101%"])
    def test_a_budget_lets_one_pod_go(self, part: str, allowed: int | str) -> None:
        with pytest.raises(HelmError, match=f"at '/{part}/pdb/maxUnavailable'"):
            render({part: {"pdb": {"maxUnavailable": allowed}}})

    @pytest.mark.parametrize("allowed", [1, "1%", "50%", "100%"])
    def test_numbers_and_shares_are_taken(self, allowed: int | str) -> None:
        budget = named(
            render({"webhook": {"pdb": {"maxUnavailable": allowed}}}), "PodDisruptionBudget", "locus-operator-webhook"
        )
        assert budget["spec"]["maxUnavailable"] == allowed


class TestEnvironment:
    @pytest.mark.parametrize("part", BOTH)
    @pytest.mark.parametrize("name", ["LOG_LEVEL", "NAMESPACE", "HEALTH_HOST"])
    def test_a_variable_of_ones_own_replaces_the_charts(self, part: str, name: str) -> None:
        own = {"name": f"LOCUS_OPERATOR_{name}", "value": "own"}
        values = {"extraEnv": [own], "settings": {"healthHost": "::"}}
        (container,) = deployment(part, {part: values})["template"]["spec"]["containers"]
        assert [each for each in container["env"] if each["name"] == own["name"]] == [own]
        names = [each["name"] for each in container["env"]]
        assert len(names) == len(set(names))

    def test_two_ports_are_two(self) -> None:
        with pytest.raises(HelmError, match=r"webhook\.healthPort: write another than webhook\.port"):
            render({"webhook": {"port": 9443, "healthPort": 9443}})


def test_hooks_have_annotations_of_their_own() -> None:
    sidecar = {"sidecar.istio.io/inject": "false"}
    objects = render({"hooks": {"podAnnotations": sidecar}})
    job = named(objects, "Job", "locus-operator-uninstall-guard")["spec"]["template"]["metadata"]["annotations"]
    pod = named(objects, "Pod", "locus-operator-test")["metadata"]["annotations"]
    assert job == sidecar
    assert pod.items() > sidecar.items()
    assert pod["helm.sh/hook"] == "test"
