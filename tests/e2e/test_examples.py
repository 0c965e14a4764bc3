"""Everything in ``examples/`` works as it stands, and the demo that uses it cleans up after itself."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import yaml

from hack.demo.stage import EXAMPLE_ADDRESSES, EXAMPLES
from locus_operator.api import parse_store
from tests.e2e.control_plane import HOST, REPOSITORY, ControlPlane
from tests.e2e.operator_process import install

MANIFESTS = sorted(path.name for path in EXAMPLES.glob("*.yaml"))
DEMO_DIRECTORY = REPOSITORY / ".demo"
DEMO_SECONDS = 90


@pytest.fixture(scope="module")
def prepared_cluster(control_plane: ControlPlane) -> Iterator[ControlPlane]:
    """An API server that knows the custom resources, and has the examples' namespace."""
    install(control_plane)
    control_plane.kubectl("apply", f"--filename={EXAMPLES / '01-namespace.yaml'}")
    yield control_plane
    control_plane.kubectl("delete", f"--filename={EXAMPLES / '01-namespace.yaml'}", "--wait=false")


class TestManifests:
    @pytest.mark.parametrize("name", MANIFESTS)
    def test_api_server_accepts_it(self, prepared_cluster: ControlPlane, name: str) -> None:
        output = prepared_cluster.kubectl("apply", f"--filename={EXAMPLES / name}", "--dry-run=server")
        assert all(line.endswith("(server dry run)") for line in output.splitlines())
        assert len(output.splitlines()) == len(list(yaml.safe_load_all((EXAMPLES / name).read_text())))

    def test_all_are_accepted_in_one_go(self, prepared_cluster: ControlPlane) -> None:
        output = prepared_cluster.kubectl("apply", f"--filename={EXAMPLES}", "--dry-run=server")
        assert output.count("checkpointstore.memory.locus.dev/") == 2
        assert output.count("deployment.apps/") == 2

    def test_stores_obey_the_rules_that_an_old_api_server_does_not_check(self) -> None:
        for document in yaml.safe_load_all((EXAMPLES / "02-stores.yaml").read_text()):
            assert parse_store(document).spec.backend is not None

    def test_deployments_name_stores_of_the_examples(self) -> None:
        stores = {each["metadata"]["name"] for each in yaml.safe_load_all((EXAMPLES / "02-stores.yaml").read_text())}
        deployments = list(yaml.safe_load_all((EXAMPLES / "03-agents.yaml").read_text()))
        labels = [each["spec"]["template"]["metadata"]["labels"] for each in deployments]
        assert {each["memory.locus.dev/checkpoint-store"] for each in labels} == stores


class TestWithoutKubernetes:
    @pytest.fixture
    def environment(self, tmp_path: Path) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return {"PATH": path, "LOCUS_CHECKPOINT_URL": f"file://{tmp_path}/conversations"}

    def run(self, command: list[str], environment: dict[str, str]) -> str:
        done = subprocess.run(command, env=environment, cwd=REPOSITORY, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def test_the_commands_of_its_documentation_hold_a_conversation(self, environment: dict[str, str]) -> None:
        text = (EXAMPLES / "without_kubernetes.py").read_text().split('"""')[1]
        commands = [shlex.split(line) for line in text.splitlines() if line.startswith("    python ")]
        answers = [self.run(command, environment) for command in commands]
        assert len(answers) == 2
        assert answers[0].startswith("Tokyo!")
        assert answers[1] == 'Your trip to Tokyo. You told me: "I\'m planning a trip to Tokyo."\n'

    def test_another_thread_knows_nothing_of_it(self, environment: dict[str, str]) -> None:
        program = ["python", "examples/without_kubernetes.py"]
        self.run([*program, "user-c42", "I'm planning a trip to Tokyo."], environment)
        answer = self.run([*program, "user-c43", "What were we discussing?"], environment)
        assert answer == "I don't know: you have not told me anything yet.\n"


class Demo:
    """A running demo, and every process that it ever had."""

    def __init__(self, output: Path) -> None:
        self._output = output
        self.seen: set[psutil.Process] = set()
        self.programs: set[str] = set()
        with output.open("wb") as stream:
            # Its own session: a Ctrl-C at a terminal reaches the demo alone, and so does ours.
            self._process = psutil.Popen(
                [sys.executable, "-m", "hack.demo"],
                cwd=REPOSITORY,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self._output.read_text()

    def wait_for_output(self, text: str) -> None:
        """Wait until it has printed this."""
        self._watch_until(lambda: text in self.output or self._process.poll() is not None, repr(text))
        assert text in self.output

    def interrupt(self) -> None:
        """Press Ctrl-C, unless it has ended."""
        with suppress(psutil.NoSuchProcess):
            self._process.send_signal(signal.SIGINT)

    def wait(self) -> int:
        """Wait for its end; return its exit status."""
        self._watch_until(lambda: self._process.poll() is not None, "its end")
        return int(self._process.returncode)

    def left(self) -> list[psutil.Process]:
        """Its processes that still run."""
        return [each for each in self.seen if _runs(each)]

    def _watch_until(self, condition: Callable[[], bool], what: str) -> None:
        """Poll, and take note of the demo's processes and of what they run."""
        deadline = time.monotonic() + DEMO_SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"waited for {what}:\n{self.output}"
            with suppress(psutil.NoSuchProcess):
                for each in self._process.children(recursive=True):
                    self.seen.add(each)
                    self.programs.add(each.name())
            # Every look costs as much as a process of the demo, on the same machine.
            time.sleep(0.2)


def _runs(process: psutil.Process) -> bool:
    # An orphan may stay a zombie where the container's first process does not reap.
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    mounts = Path("/proc/self/mountinfo").read_text()
    demo = Demo(tmp_path / "output")
    yield demo
    demo.interrupt()
    demo.wait()
    assert demo.left() == []
    assert Path("/proc/self/mountinfo").read_text() == mounts


@pytest.mark.skipif(os.geteuid() != 0, reason="the demo's node needs root, for mount namespaces")
class TestDemo:
    def test_it_plays_to_the_end_and_takes_everything_down(self, demo: Demo) -> None:
        begin = time.monotonic()
        assert demo.wait() == 0, demo.output
        assert time.monotonic() - begin < DEMO_SECONDS
        assert demo.output.count('agent: Your trip to Tokyo. You told me: "I\'m planning a trip to Tokyo."') == 2
        for command in ("kubectl apply -f examples/", "kubectl get cps -n agents"):
            # On a busy machine its duration follows.
            assert re.search(rf"^\$ {re.escape(command)}(  [0-9.]+ s)?$", demo.output, re.MULTILINE), command
        for shown in ("Provisioned", "create table"):
            assert shown in demo.output
        assert "password" not in demo.output.replace("set password of", "")
        assert {"kube-apiserver", "etcd", "postgres", "valkey-server"} <= demo.programs
        assert demo.left() == []
        assert not DEMO_DIRECTORY.exists()

    def test_interrupted_it_takes_everything_down_and_keeps_the_logs(self, demo: Demo) -> None:
        demo.wait_for_output("Day 1")
        demo.interrupt()
        assert demo.wait() == 130
        assert "everything taken down" in demo.output
        assert f"The logs are in {DEMO_DIRECTORY / 'logs'}" in demo.output.replace("\n", " ")
        assert (DEMO_DIRECTORY / "logs" / "controller.log").stat().st_size
        assert demo.left() == []

    def test_a_port_that_is_taken_is_named(self, tmp_path: Path) -> None:
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind((HOST, EXAMPLE_ADDRESSES.postgresql))
            other.listen()
            demo = Demo(tmp_path / "output")
            assert demo.wait() == 1
        assert f"port {EXAMPLE_ADDRESSES.postgresql} of {HOST} is taken" in demo.output
        assert demo.left() == []
