"""The steps of the Dockerfile, taken without a container engine, and what they make, run as an image is run.

`/source` and `/opt/locus` become directories of the test; the base image is this machine's Python. What is built runs
on the test node: as a user that nobody knows, with a read-only root, with the service accounts of production.
"""

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.control_plane import ControlPlane
from tests.e2e.operator_process import NAMESPACE, SERVICE_ACCOUNT, WEBHOOK_ACCOUNT, install
from tests.e2e.test_node.images import ImageRoot
from tests.e2e.test_node.launcher import NodeProcess
from tests.image.dockerfile import Dockerfile, ignored
from tests.servers.processes import wait_for

REPOSITORY = Path(__file__).resolve().parents[2]
IMAGE = "locus-operator:built"
SOMEBODY = 12345
EPOCH = 1_700_000_000
Object = dict[str, Any]


@dataclass(frozen=True)
class Built:
    """What the build stage made.

    Attributes:
        root: Stands for ``/``; its ``opt/locus`` is what the image gets.
        dockerfile: What the steps were read from.
    """

    root: Path
    dockerfile: Dockerfile

    @property
    def tree(self) -> Path:
        return self.root / "opt/locus"

    def here(self, text: str) -> str:
        """The same text with the directories of this test."""
        return text.replace("/opt/locus", str(self.tree)).replace("/source", str(self.root / "source"))

    @property
    def environment(self) -> dict[str, str]:
        """What `ENV` sets in the final image."""
        return {name: self.here(value) for name, value in self.dockerfile.final.pairs("ENV").items()}

    def image(self) -> ImageRoot:
        """The final image for the test node."""
        user = int(self.dockerfile.final.last("USER").value.partition(":")[0])
        entry_point = tuple(self.dockerfile.final.last("ENTRYPOINT").words)
        cmd = tuple(self.dockerfile.final.last("CMD").words)
        prefix = Path(sys.base_prefix)
        mounts = {str(path): str(path) for path in (self.tree, prefix) if path != Path("/usr")}
        return ImageRoot(mounts, self.environment, entrypoint=entry_point, cmd=cmd, user=user)

    def run(self, *command: str) -> str:
        """Run a command of the tree, in the final image's environment."""
        program = str(self.tree / "bin" / command[0])
        done = subprocess.run(
            [program, *command[1:]], env=self.environment, cwd="/", capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    built = Built(tmp_path_factory.mktemp("image"), Dockerfile.read(REPOSITORY / "Dockerfile"))
    build = built.dockerfile.stages[0]
    for each in build.all("COPY"):
        *sources, target = each.words
        for source in sources:
            copy(REPOSITORY / source, built.root / "source" / target / (source if target == "./" else ""))
    built.tree.parent.mkdir()
    arguments = build.pairs("ARG") | {"SOURCE_DATE_EPOCH": str(EPOCH)}
    environment = {name: built.here(value) for name, value in (arguments | build.pairs("ENV")).items()}
    # Where a mirror is named: on the machine, as a build's secret does in the container.
    own = {name: value for name, value in os.environ.items() if name.startswith("PIP_") or name == "HOME"}
    # A cache on this machine is not in the image.
    del environment["PIP_NO_CACHE_DIR"]
    path = f"{sys.base_prefix}/bin:/usr/local/bin:/usr/bin:/bin"
    for each in build.all("RUN"):
        script = built.here(each.value).replace("/tmp/installer", str(built.root / "installer"))
        done = subprocess.run(
            ["sh", "-euc", script],
            env=own | environment | {"PATH": path},
            cwd=built.root / "source",
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return built


def copy(source: Path, target: Path) -> None:
    """Copy as a builder does, without what .dockerignore keeps back."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_file():
        shutil.copy2(source, target)
        return

    def left_behind(directory: str, names: list[str]) -> list[str]:
        below = Path(directory).relative_to(REPOSITORY)
        return [name for name in names if ignored(str(below / name), REPOSITORY / ".dockerignore")]

    shutil.copytree(source, target, ignore=left_behind)


class TestTree:
    def test_it_holds_the_drivers_of_all_provisioners_but_oci(self, built: Built) -> None:
        program = (
            "import importlib.util as u;"
            "print(*[n for n in ('psycopg', 'redis', 'oracledb', 'opensearchpy', 'httpx', 'cryptography', 'oci', 'pip',"
            " 'setuptools', 'pytest') if u.find_spec(n)])"
        )
        found = built.run("python", "-c", program).split()
        assert found == ["psycopg", "redis", "oracledb", "opensearchpy", "httpx", "cryptography"]

    def test_every_module_of_the_operator_can_be_imported(self, built: Built) -> None:
        program = (
            "import importlib, locus_operator, pkgutil;"
            "names = [m.name for m in pkgutil.walk_packages(locus_operator.__path__, 'locus_operator.')];"
            "[importlib.import_module(n) for n in names];"
            "print(len(names))"
        )
        assert int(built.run("python", "-W", "ignore", "-c", program)) > 50

    def test_versions_are_those_of_the_constraints(self, built: Built) -> None:
        listed = "import importlib.metadata as m; print(*[f'{d.name}=={d.version}' for d in m.distributions()])"
        constraints = (REPOSITORY / "constraints.txt").read_text().lower().replace("_", "-").splitlines()
        found = {each.lower().replace("_", "-") for each in built.run("python", "-c", listed).split()}
        assert {each for each in found if each not in constraints} == {"locus-memory==0.1.0"}

    def test_everything_is_for_everybody_to_read_and_for_nobody_to_write(self, built: Built) -> None:
        for path in (built.tree, *built.tree.rglob("*")):
            status = path.lstat()
            if not path.is_symlink():
                assert status.st_mode & 0o022 == 0, path
                assert status.st_mode & 0o044 == 0o044, path
            assert int(status.st_mtime) == EPOCH, path

    def test_what_is_compiled_asks_for_no_file_times(self, built: Built) -> None:
        compiled = list((built.tree / "lib").rglob("*.pyc"))
        sources = list((built.tree / "lib").rglob("*.py"))
        assert len(compiled) == len(sources) > 1000
        # PEP 552: bit 0, by hash; bit 1, which asks for a check of the source, is not set.
        assert {int.from_bytes(path.read_bytes()[4:8], "little") for path in compiled} == {1}

    def test_its_sbom_lists_what_is_installed(self, built: Built) -> None:
        sbom = json.loads((built.tree / "share/sbom.cdx.json").read_text())
        names = {each["name"] for each in sbom["components"]}
        assert {"locus-memory", "kopf", "oracledb", "python"} <= names
        assert sbom["metadata"]["timestamp"] == "2023-11-14T22:13:20Z"

    def test_it_writes_the_definitions_that_are_committed(self, built: Built, tmp_path: Path) -> None:
        built.run("locus-operator", "crds", "--output-dir", str(tmp_path))
        for path in tmp_path.iterdir():
            assert path.read_text() == (REPOSITORY / "crds" / path.name).read_text()


def pod(name: str, account: str, health_check: list[str], **container: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "serviceAccountName": account,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": SOMEBODY,
                "runAsGroup": SOMEBODY,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "operator",
                    "image": IMAGE,
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                        "readOnlyRootFilesystem": True,
                    },
                    "readinessProbe": {"exec": {"command": health_check}, "periodSeconds": 1},
                    **container,
                }
            ],
            **({"volumes": [{"name": "tls", "secret": {"secretName": "image-tls"}}]} if name == "webhook" else {}),
        },
    }


@pytest.fixture(scope="module")
def cluster(control_plane: ControlPlane, test_node: NodeProcess, built: Built) -> Iterator[ControlPlane]:
    """A cluster with CRDs and service accounts, whose node has the image."""
    install(control_plane)
    test_node.add_images({IMAGE: built.image()})
    pair = control_plane.authority.issue_server("image")
    data = {"tls.crt": pair.certificate.read_bytes(), "tls.key": pair.key.read_bytes()}
    control_plane.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "image-tls", "namespace": NAMESPACE},
            "data": {name: base64.b64encode(value).decode() for name, value in data.items()},
        }
    )
    yield control_plane
    control_plane.kubectl("delete", "secret", "image-tls", f"--namespace={NAMESPACE}")


class TestContainers:
    @pytest.mark.parametrize(("command", "account"), [("controller", SERVICE_ACCOUNT), ("webhook", WEBHOOK_ACCOUNT)])
    def test_it_runs_as_anybody_on_a_read_only_root(
        self, cluster: ControlPlane, built: Built, command: str, account: str
    ) -> None:
        health_check = built.dockerfile.final.last("HEALTHCHECK").value.removeprefix("CMD ")
        mounts = [{"name": "tls", "mountPath": "/etc/locus-operator/tls"}] if command == "webhook" else []
        # Stores that other tests have left elsewhere are none of its business.
        names = ("LOCUS_OPERATOR_NAMESPACE", "LOCUS_OPERATOR_WATCH_NAMESPACES")
        env = [{"name": name, "value": NAMESPACE} for name in names]
        cluster.apply(pod(command, account, json.loads(health_check), args=[command], volumeMounts=mounts, env=env))
        here = f"--namespace={NAMESPACE}"
        try:
            cluster.kubectl("wait", f"pod/{command}", here, "--for=condition=Ready", "--timeout=60s")
            log = cluster.kubectl("logs", command, here)
        finally:
            cluster.kubectl("delete", "pod", command, here, "--timeout=30s")
        lines = [json.loads(line) for line in log.splitlines()]
        assert [line for line in lines if line.get("level", line.get("severity")) in ("ERROR", "CRITICAL")] == []

    def test_without_arguments_it_says_what_it_can_do(self, cluster: ControlPlane) -> None:
        manifest = pod("asked", SERVICE_ACCOUNT, ["true"])
        manifest["spec"]["restartPolicy"] = "Never"
        cluster.apply(manifest)
        here = f"--namespace={NAMESPACE}"
        try:
            wait_for(
                lambda: cluster.get("pod", "asked", NAMESPACE)["status"]["phase"] == "Succeeded",
                timeout=30,
                what="help",
            )
            assert "controller" in cluster.kubectl("logs", "asked", here)
        finally:
            cluster.kubectl("delete", "pod", "asked", here, "--timeout=30s")
