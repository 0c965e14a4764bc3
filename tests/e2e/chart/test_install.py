"""The life of an installation, on a real API server with a node that runs its pods: install to uninstall."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.chart.helm import NAMESPACE, RELEASE, HelmError
from tests.e2e.chart.release import (
    AGENT,
    AGENTS,
    PER_POD,
    STORE,
    WEBHOOK_SELECTOR,
    Release,
    create_tls_secret,
    example_agents,
)
from tests.e2e.chart.service import Service
from tests.e2e.control_plane import ControlPlane
from tests.e2e.conversations import ASKED, TOLD, Day, play_day
from tests.e2e.operator_process import Stores
from tests.e2e.test_node.launcher import NodeProcess
from tests.servers.processes import wait_for
from tests.servers.redis import RedisServer

Object = dict[str, Any]
SECRET = "webhook-tls"


@dataclass
class Installation:
    """A release, and what was seen at its beginning."""

    release: Release
    stores: Stores
    notes: str
    first_day: Day
    store: Object
    binding: dict[str, str]


@pytest.fixture(scope="module", params=["all namespaces", "one namespace"])
def installed(
    request: pytest.FixtureRequest, cluster: ControlPlane, node: NodeProcess, redis_server: RedisServer
) -> Iterator[Installation]:
    """The chart with a certificate that somebody brings, and an agent that was told something."""
    redis_server.reset()
    create_tls_secret(cluster, SECRET, cluster.authority.issue_server("chart-webhook"))
    with Service(cluster, NAMESPACE, WEBHOOK_SELECTOR, target_port=9443) as service:
        values: Object = {
            "webhook": {
                "clientConfig": {"url": service.url},
                "certificate": {
                    "source": "existingSecret",
                    "existingSecret": SECRET,
                    "caBundle": cluster.authority.pair.certificate.read_text(),
                },
                "extraEnv": PER_POD,
            }
        }
        if request.param == "one namespace":
            values["watchNamespaces"] = [AGENTS]
        release, stores = Release(cluster, values), Stores(cluster, AGENTS)
        try:
            notes = release.install()
            cluster.apply(*example_agents(redis_server))
            stores.wait(STORE, timeout=60)
            day = play_day(cluster, AGENTS, AGENT)
            yield Installation(release, stores, notes, day, stores.get(STORE), stores.binding(STORE))
        finally:
            release.uninstall("--no-hooks", "--ignore-not-found")


@pytest.mark.usefixtures("installed")
class TestInstallation:
    """In this order: each test goes on where the one before it has ended."""

    def test_pods_run_with_accounts_of_their_own_and_have_never_failed(self, installed: Installation) -> None:
        for part in ("controller", "webhook"):
            pods = installed.release.pods(part)
            assert [each["spec"]["serviceAccountName"] for each in pods] == [f"{RELEASE}-{part}"] * 2
            assert all(status["ready"] for each in pods for status in each["status"]["containerStatuses"])
            assert [each["status"]["containerStatuses"][0]["restartCount"] for each in pods] == [0, 0]

    def test_one_controller_holds_the_lease(self, installed: Installation) -> None:
        lease = installed.release.cluster.get("lease", RELEASE, NAMESPACE)
        holder = lease["spec"]["holderIdentity"]
        assert [each for each in installed.release.pods("controller") if holder.startswith(each["metadata"]["name"])]

    def test_the_agent_was_injected_and_answered(self, installed: Installation) -> None:
        assert installed.first_day.pod["metadata"]["annotations"]["memory.locus.dev/injected"] == STORE
        assert installed.first_day.log.startswith(f"user:  {TOLD}\n")

    def test_notes_name_the_next_three_commands(self, installed: Installation) -> None:
        assert "rollout status" in installed.notes
        assert "kind: CheckpointStore" in installed.notes
        assert "wait cps/first" in installed.notes

    def test_helm_test_passes_and_says_what_it_has_seen(self, installed: Installation) -> None:
        printed = installed.release.test()
        assert "ok: the API server serves CheckpointStore and CheckpointStoreClass" in printed
        assert "ok: the webhook selected.memory.locus.dev is ready" in printed

    def test_an_upgrade_replaces_the_pods_and_nothing_else(self, installed: Installation) -> None:
        before = {
            each["metadata"]["name"] for part in ("controller", "webhook") for each in installed.release.pods(part)
        }
        installed.release.upgrade("logs.level=DEBUG")
        after = {
            each["metadata"]["name"] for part in ("controller", "webhook") for each in installed.release.pods(part)
        }
        assert len(after) == 4
        assert not before & after
        store = installed.stores.get(STORE)
        assert store["metadata"]["uid"] == installed.store["metadata"]["uid"]
        assert installed.stores.binding(STORE) == installed.binding

    def test_the_agents_next_pod_resumes_after_the_upgrade(self, installed: Installation) -> None:
        cluster = installed.release.cluster
        cluster.kubectl("set", "env", f"deployment/{AGENT}", f"--namespace={AGENTS}", f"MESSAGE={ASKED}")
        day = play_day(cluster, AGENTS, AGENT)
        assert day.pod_name != installed.first_day.pod_name
        assert day.answer == f'Your trip to Tokyo. You told me: "{TOLD}"'

    def test_uninstalling_is_refused_while_a_store_waits_for_its_deletion(self, installed: Installation) -> None:
        with pytest.raises(HelmError) as refused:
            installed.release.uninstall()
        assert f"{AGENTS}/{STORE}" in str(refused.value)
        assert "uninstallGuard.enabled=false" in str(refused.value)
        assert len(installed.release.pods("controller")) == 2

    def test_uninstalling_keeps_kinds_and_stores_and_leaves_nothing_else(self, installed: Installation) -> None:
        cluster, stores = installed.release.cluster, installed.stores
        cluster.kubectl("delete", "deployment", AGENT, f"--namespace={AGENTS}")
        stores.kubectl("delete", "cps", STORE, "--timeout=30s")
        stores.apply("kept", {"backend": {"memory": {}}, "deletionPolicy": "Retain"})
        stores.wait("kept")
        installed.release.uninstall()
        assert stores.get("kept")["spec"]["deletionPolicy"] == "Retain"
        wait_for(lambda: left_over(cluster) == [], timeout=60, what="everything of the release gone")
        stores.kubectl("delete", "cps", "kept", "--timeout=30s")


def left_over(cluster: ControlPlane) -> list[str]:
    """Objects of the release, but for the CRDs, which are kept."""
    kinds = (
        "deployments,pods,jobs,services,serviceaccounts,roles,rolebindings,clusterroles,clusterrolebindings,configmaps,"
        "poddisruptionbudgets,networkpolicies,mutatingwebhookconfigurations"
    )
    output = cluster.kubectl(
        "get", kinds, "--all-namespaces", f"--selector=app.kubernetes.io/instance={RELEASE}", "--output=name"
    )
    return output.split()
