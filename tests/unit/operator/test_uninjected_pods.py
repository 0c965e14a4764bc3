"""Which pods are told about, how often, and that nothing stops the controller from looking again."""

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from locus_operator.api.references import LabelSelector
from locus_operator.controller.pods import EVENTS_PER_SWEEP, UninjectedPods
from locus_operator.injection.known_stores import KnownStore
from locus_operator.injection.pod import inject
from locus_operator.kube_pods import KubernetesPods, label_query
from tests.unit.operator.pods import Pod, make_pod, make_store


@dataclass
class Cluster:
    """Pods and stores of one namespace that has opted in, without an API server."""

    pods: list[Pod] = field(default_factory=list)
    known: dict[str, KnownStore] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    asked: int = 0
    is_away: bool = False

    def add(self, pod: Pod, name: str, **status: Any) -> Pod:
        pod["metadata"] |= {"name": name, "uid": f"uid-{name}", "namespace": "agents"}
        self.pods.append(pod | {"status": status})
        return self.pods[-1]

    async def labelled(self) -> AsyncIterator[Pod]:
        for pod in self.pods:
            if "memory.locus.dev/checkpoint-store" in pod["metadata"]["labels"]:
                yield pod

    async def selected(self, namespace: str, selector: LabelSelector) -> AsyncIterator[Pod]:
        for pod in self.pods:
            if selector.matches(pod["metadata"]["labels"]):
                yield pod

    async def enabled_namespaces(self) -> set[str]:
        return {"agents"}

    async def stores(self) -> Any:
        if self.is_away:
            raise ConnectionResetError
        return {"agents": self.known}

    async def store(self, namespace: str, name: str) -> KnownStore | None:
        if self.is_away:
            raise ConnectionResetError
        self.asked += 1
        return self.known.get(name)

    async def post_once(self, namespace: str, event: Any) -> None:
        self.told.append(event.involved_object.name)


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def uninjected(cluster: Cluster) -> UninjectedPods:
    return UninjectedPods(cast("KubernetesPods", cluster))


async def test_a_pod_is_told_once_by_the_watch_and_all_sweeps(cluster: Cluster, uninjected: UninjectedPods) -> None:
    pod = cluster.add(make_pod("support"), "missed")

    for _ in range(2):
        await uninjected.look(pod)
        await uninjected.report_uninjected()

    assert cluster.told == ["missed"]
    assert uninjected.count == 1


async def test_stores_of_pods_that_are_as_they_should_be_are_not_asked_for(
    cluster: Cluster, uninjected: UninjectedPods
) -> None:
    await uninjected.look(cluster.add(inject(make_pod("support")).pod, "injected"))

    assert (cluster.asked, cluster.told) == (0, [])


async def test_a_store_that_is_for_other_containers_is_not_missed_and_is_asked_for_once(
    cluster: Cluster, uninjected: UninjectedPods
) -> None:
    cluster.known = {"a": make_store("a", containers=["agent"])}
    injected = inject(make_pod("a"), cluster.known).pod
    injected["spec"]["containers"].append({"name": "proxy"})
    pod = cluster.add(injected, "two-containers")

    for _ in range(3):
        await uninjected.look(pod)

    assert cluster.told == []
    assert cluster.asked <= 1


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
async def test_pods_that_have_ended_are_not_told(cluster: Cluster, uninjected: UninjectedPods, phase: str) -> None:
    pod = cluster.add(make_pod("support"), "ended", phase=phase)

    await uninjected.look(pod)
    await uninjected.report_uninjected()

    assert (cluster.told, uninjected.count) == ([], 0)


async def test_pods_that_are_gone_do_not_count_any_more(cluster: Cluster, uninjected: UninjectedPods) -> None:
    await uninjected.look(cluster.add(make_pod("support"), "one"))
    await uninjected.look(cluster.add(make_pod("support"), "two"))
    assert uninjected.count == 2

    uninjected.forget("uid-one")
    assert uninjected.count == 1
    cluster.pods.clear()
    await uninjected.report_uninjected()

    assert uninjected.count == 0


async def test_a_store_that_comes_to_select_many_pods_is_told_bit_by_bit(
    cluster: Cluster, uninjected: UninjectedPods
) -> None:
    cluster.known = {"a": make_store("a", {})}
    for index in range(EVENTS_PER_SWEEP + 20):
        cluster.add(make_pod(None), f"pod-{index}")

    await uninjected.report_uninjected()
    assert (len(cluster.told), uninjected.count) == (EVENTS_PER_SWEEP, EVENTS_PER_SWEEP + 20)
    await uninjected.report_uninjected()

    assert len(cluster.told) == len(set(cluster.told)) == EVENTS_PER_SWEEP + 20


async def test_a_pod_whose_files_are_not_mounted_is_found_by_the_sweep(
    cluster: Cluster, uninjected: UninjectedPods
) -> None:
    pod = cluster.add(inject(make_pod("support")).pod, "early")
    await uninjected.look(pod)
    assert cluster.told == []
    cluster.known = {"support": make_store("support", backend={"file": {"size": "1Gi"}})}

    await uninjected.report_uninjected()

    assert cluster.told == ["early"]


async def test_an_api_server_that_is_away_is_asked_again_later(
    cluster: Cluster, uninjected: UninjectedPods, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.is_away = True
    pod = cluster.add(make_pod("support"), "missed")
    with caplog.at_level(logging.WARNING):
        await uninjected.look(pod)
        await uninjected.report_uninjected()
    assert caplog.text.count("pods without injection are not reported: the API server does not answer") == 2

    cluster.is_away = False
    await uninjected.look(pod)

    assert cluster.told == ["missed"]


@pytest.mark.parametrize(
    ("selector", "query"),
    [
        ({}, ""),
        ({"matchLabels": {"app": "agent", "tier": ""}}, "app=agent,tier="),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["b", "c"]}]}, "a in (b,c)"),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["b"]}]}, "a notin (b)"),
        ({"matchExpressions": [{"key": "a/b", "operator": "Exists"}]}, "a/b"),
        ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, "!a"),
    ],
)
def test_selectors_are_written_as_queries(selector: Any, query: str) -> None:
    assert label_query(LabelSelector.model_validate(selector)) == query
