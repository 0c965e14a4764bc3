"""From the previous version to this one and back, with stores that are in use: nothing is lost, nothing made anew.

The previous version comes out of git, chart and code: the newest tag, or a commit while there is none. In a copy of
the repository that lacks it, such as a shallow clone or an unpacked archive, these tests are skipped and say so.
"""

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from tests.chart.helm import CHART, NAMESPACE, RELEASE, REPOSITORY
from tests.e2e.chart import saving
from tests.e2e.chart.admissions import Admissions
from tests.e2e.chart.conftest import USER, operator_image
from tests.e2e.chart.possessions import Possessions
from tests.e2e.chart.previous_version import NoHistoryError, PreviousVersion
from tests.e2e.chart.release import AGENTS, PER_POD, Release
from tests.e2e.chart.saving import Agent, read_thread
from tests.e2e.chart.service import Service
from tests.e2e.control_plane import ControlPlane
from tests.e2e.operator_process import Stores, read_metrics
from tests.e2e.test_node.images import ImageRoot
from tests.e2e.test_node.launcher import NodeProcess
from tests.servers.postgresql import Database, PostgreSQLServer
from tests.servers.processes import wait_for
from tests.servers.redis import RedisServer

Object = dict[str, Any]
POSTGRESQL, REDIS, FILES = LIVE = ("on-postgresql", "on-redis", "on-files")
YOUNGER = "younger"
OLD_LIBRARY, NEW_LIBRARY = "saving-agent:previous", "saving-agent:this"
LAG_SECONDS = 2.0
"""How late a node learns that a pod has left its Service."""
PACKAGES = ("locus_memory", "operator/locus_operator")
CRDS = ("checkpointstores.memory.locus.dev", "checkpointstoreclasses.memory.locus.dev")


@dataclass(frozen=True)
class Live:
    """An installation that is in use.

    Attributes:
        agents: With the previous version's library, one for each store; they run all the time.
        newer: With this version's, from the upgrade on.
    """

    previous: PreviousVersion
    release: Release
    node: NodeProcess
    stores: Stores
    possessions: Possessions
    agents: list[Agent]
    newer: list[Agent]

    @property
    def cluster(self) -> ControlPlane:
        return self.release.cluster

    def running_images(self) -> set[str]:
        """The images of the pods that are not being deleted."""
        pods = [each for part in ("controller", "webhook") for each in self.release.pods(part)]
        return {each["spec"]["containers"][0]["image"] for each in pods}

    def wait_until_swept(self) -> dict[str, float]:
        """Wait until the controller that leads has looked at every store; returns its metrics."""
        found: list[dict[str, float]] = []

        def swept() -> bool:
            found[:] = [each for each in map(metrics, self.release.pods("controller")) if each is not None]
            leaders = [each for each in found if each["locus_operator_leader"]]
            found[:] = leaders
            return len(leaders) == 1 and leaders[0]["locus_operator_last_sweep_timestamp_seconds"] > 0

        wait_for(swept, timeout=40, what="a sweep of the new leader")
        return found[0]


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory, node: NodeProcess) -> PreviousVersion:
    """The previous version, as images that the node can run."""
    try:
        found = PreviousVersion.extracted(tmp_path_factory.mktemp("previous-version"))
    except NoHistoryError as error:
        pytest.skip(f"the previous version is not in this copy of the repository: {error}")
    ours = ImageRoot.of_this_python(REPOSITORY)
    node.add_images(
        {
            found.image_name: found.image(ImageRoot.of_this_python(user=USER)),
            OLD_LIBRARY: saving.agent_image(found.image(ImageRoot.of_this_python())),
            NEW_LIBRARY: saving.agent_image(ours),
        }
    )
    return found


@pytest.fixture(scope="module")
def live(
    previous: PreviousVersion,
    cluster: ControlPlane,
    node: NodeProcess,
    service: Service,
    postgresql_server: PostgreSQLServer,
    redis_server: RedisServer,
) -> Iterator[Live]:
    """The previous version, and agents that save."""
    redis_server.reset()
    values: Object = {
        "webhook": {"clientConfig": {"url": service.url}, "extraEnv": PER_POD, "settings": {}},
        "controller": {"settings": {"driftIntervalSeconds": 2}},
    }
    release, stores = Release(cluster, values), Stores(cluster, AGENTS)
    database = postgresql_server.create_database(f"upgrade_{secrets.token_hex(4)}")
    agents = [Agent(stores, f"agent-{store}", store) for store in LIVE]
    with ExitStack() as stack:
        stack.callback(database.drop)
        stack.callback(release.uninstall, "--no-hooks", "--ignore-not-found")
        release.install(chart=previous.chart)
        stack.callback(clean, stores)
        create_stores(stores, database, redis_server)
        for agent in agents:
            agent.deploy(OLD_LIBRARY)
        for agent in agents:
            agent.wait_until_saving()
        newer = [Agent(stores, f"newer-{store}", store) for store in LIVE]
        yield Live(previous, release, node, stores, Possessions(stores, database, redis_server), agents, newer)


def create_stores(stores: Stores, database: Database, redis: RedisServer) -> None:
    """One with a backend of its own, one of a class, one on a volume."""
    password = secrets.token_urlsafe(16)
    database.create_admin("upgrade_admin", password)
    stores.create_secret("postgresql-admin", username="upgrade_admin", password=password)
    address = {"host": "127.0.0.1", "port": database.server.port, "database": database.name, "sslMode": "disable"}
    login = {"adminSecretRef": {"name": "postgresql-admin"}}
    Stores(stores.control_plane, NAMESPACE).create_secret("redis-admin", username="default", password=redis.password)
    shared = {"addresses": [f"{redis.host}:{redis.port}"], "adminSecretRef": {"name": "redis-admin"}}
    stores.control_plane.apply(
        {
            "apiVersion": "memory.locus.dev/v1alpha1",
            "kind": "CheckpointStoreClass",
            "metadata": {"name": "shared"},
            "spec": {"backend": {"redis": shared}, "allowedNamespaces": {"from": "All"}},
        }
    )
    specs: dict[str, Object] = {
        POSTGRESQL: {"backend": {"postgresql": address | login}},
        REDIS: {"className": "shared"},
        FILES: {"backend": {"file": {"size": "1Gi", "accessModes": ["ReadWriteMany"]}}},
    }
    for name, spec in specs.items():
        stores.apply(name, spec | {"deletionPolicy": "Delete"})
    for name in specs:
        stores.wait(name, timeout=60)


def clean(stores: Stores) -> None:
    """Remove agents, stores and class while the operator runs."""
    stores.kubectl("delete", "deployments", "--all", "--timeout=30s")
    stores.kubectl("delete", "cps", "--all", "--timeout=60s")
    stores.kubectl("delete", "cpsclass", "shared", "--timeout=30s")


@dataclass(frozen=True)
class Change:
    """An upgrade or a rollback that has ended."""

    before: dict[str, Object]
    after: dict[str, Object]
    admissions: Admissions
    leader: dict[str, float]


@pytest.fixture(scope="module")
def upgraded(live: Live) -> Change:
    """The upgrade; agents with this version's library come while it goes on."""
    before = live.possessions.of(*LIVE)
    with Admissions(live.cluster, list(LIVE)) as admissions, ThreadPoolExecutor(1) as pool:
        upgrading = pool.submit(live.release.upgrade)
        wait_for(lambda: len(live.running_images()) == 2, timeout=60, what="both versions side by side")
        for agent in live.newer:
            agent.deploy(NEW_LIBRARY)
        upgrading.result()
        leader = live.wait_until_swept()
        for agent in (*live.agents, *live.newer):
            agent.wait_until_saving()
    return Change(before, live.possessions.of(*LIVE), admissions, leader)


@pytest.fixture(scope="module")
def rolled_back(live: Live, upgraded: Change, service: Service) -> Change:
    """Back again, with a store that the previous version has never seen."""
    # Not for the upgrade yet: the baseline's webhooks do not wait for the nodes when they are stopped.
    service.lag_seconds = LAG_SECONDS
    live.stores.apply(YOUNGER, {"className": "shared", "deletionPolicy": "Delete"})
    live.stores.wait(YOUNGER)
    every = (*LIVE, YOUNGER)
    before = live.possessions.of(*every)
    with Admissions(live.cluster, list(every)) as admissions:
        live.release.rollback()
        leader = live.wait_until_swept()
        for agent in (*live.agents, *live.newer):
            agent.wait_until_saving()
    return Change(before, live.possessions.of(*every), admissions, leader)


class TestUpgrade:
    def test_the_previous_version_was_running_with_its_own_code(self, live: Live) -> None:
        library, operator = (f"{live.previous.tree}/{each}/__init__.py" for each in PACKAGES)
        assert {agent.journal().library for agent in live.agents} == {library}
        assert code_of(live.stores, live.previous.image_name) == f"{library}\n{operator}\n"

    def test_helm_has_put_this_version_in_the_place_of_the_other(self, live: Live, upgraded: Change) -> None:
        history = live.release.helm("history", RELEASE)
        assert history.index(f"locus-operator-{live.previous.version}") < history.index("Upgrade complete")
        assert live.running_images() == {operator_image()}

    def test_no_store_was_made_anew_or_told_anything(self, upgraded: Change) -> None:
        assert upgraded.after == upgraded.before

    def test_the_new_controller_has_looked_at_all_and_corrected_nothing(self, upgraded: Change) -> None:
        assert_all_ready(upgraded.leader)

    def test_every_pod_was_injected_and_every_store_ready_all_the_time(self, upgraded: Change) -> None:
        assert_no_gap(upgraded.admissions)

    def test_pods_of_that_time_save_with_this_versions_library(self, live: Live, upgraded: Change) -> None:
        assert {agent.journal().library for agent in live.newer} == {str(REPOSITORY / "locus_memory" / "__init__.py")}

    def test_nothing_was_lost(self, live: Live, upgraded: Change) -> None:
        assert_nothing_lost(live)

    @pytest.mark.parametrize("name", CRDS)
    def test_kinds_are_those_of_this_version(self, live: Live, upgraded: Change, name: str) -> None:
        crd = live.cluster.get("crd", name)
        assert crd["metadata"]["labels"]["helm.sh/chart"] == chart_label()
        assert schemas(crd) == manifest_schemas(live.release, name)


class TestRollback:
    def test_the_previous_version_runs_again(self, live: Live, rolled_back: Change) -> None:
        assert live.running_images() == {live.previous.image_name}

    def test_no_store_was_made_anew_or_told_anything(self, rolled_back: Change) -> None:
        assert rolled_back.after == rolled_back.before

    def test_the_previous_controller_bears_what_the_other_has_written(self, rolled_back: Change) -> None:
        assert_all_ready(rolled_back.leader)

    def test_every_pod_was_injected_and_every_store_ready_all_the_time(self, rolled_back: Change) -> None:
        assert_no_gap(rolled_back.admissions)

    def test_nothing_was_lost(self, live: Live, rolled_back: Change) -> None:
        assert_nothing_lost(live)


def assert_all_ready(leader: dict[str, float]) -> None:
    """The leader has reconciled stores of all kinds, each time with success, and had nothing to correct."""
    reconciles = {
        name for name, value in leader.items() if name.startswith("locus_operator_reconciles_total") and value
    }
    assert reconciles == {
        f'locus_operator_reconciles_total{{backend="{each}",outcome="Ready"}}'
        for each in ("postgresql", "redis", "file")
    }
    corrections = [value for name, value in leader.items() if name.startswith("locus_operator_drift_corrections_total")]
    assert sum(corrections) == 0


def assert_no_gap(admissions: Admissions) -> None:
    assert admissions.faults == []
    assert all(count > 10 for count in admissions.admitted.values()), admissions.admitted


def assert_nothing_lost(live: Live) -> None:
    """Every save was acknowledged, by the same process, and is in the store where it belongs."""
    for agent in (*live.agents, *live.newer):
        journal = agent.journal()
        thread = read_thread(agent, live.node)
        assert journal.failed == ()
        assert journal.numbers == tuple(range(len(journal.numbers))), "saves are missing in the journal"
        assert thread.checkpoints[: len(journal.saved)] == journal.saved
        assert thread.last >= journal.numbers[-1]
        assert agent.restarts() == 0


def code_of(stores: Stores, image: str) -> str:
    """Where an image's user finds library and operator."""
    program = "import locus_memory, locus_operator; print(locus_memory.__file__, locus_operator.__file__, sep='\\n')"
    container = {"name": "code", "image": image, "command": ["python", "-c", program]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "code", "namespace": stores.namespace}}
    stores.control_plane.apply(pod | {"spec": {"containers": [container], "restartPolicy": "Never"}})
    phase = ("get", "pod", "code", "--output=jsonpath={.status.phase}")
    wait_for(lambda: stores.kubectl(*phase) in ("Succeeded", "Failed"), timeout=30, what="the end of the pod")
    return stores.kubectl("logs", "code")


def metrics(pod: Object) -> dict[str, float] | None:
    """What a controller tells Prometheus; None while it does not answer."""
    try:
        return read_metrics(pod["status"]["podIP"], 8080)
    except OSError:
        return None


def chart_label() -> str:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    return f"{chart['name']}-{chart['version']}"


def schemas(crd: Object) -> Object:
    return {each["name"]: without_empty(each["schema"]) for each in crd["spec"]["versions"]}


def without_empty(node: Any) -> Any:
    """An API server leaves out what says nothing, such as empty `properties`."""
    if not isinstance(node, dict):
        return node
    return {key: without_empty(value) for key, value in node.items() if value != {}}


def manifest_schemas(release: Release, name: str) -> Object:
    """The schemas of a kind as the installed chart has them."""
    manifest = release.helm("get", "manifest", RELEASE)
    objects = yaml.load_all(manifest, Loader=yaml.CSafeLoader)
    (found,) = [each for each in objects if each and each["metadata"]["name"] == name]
    return schemas(found)
