"""The servers that the demo plays on: started in order, taken down by pid in the reverse order."""

import secrets
import shutil
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from hack.demo.screen import Screen
from tests.e2e.control_plane import HOST, REPOSITORY, ControlPlane
from tests.e2e.operator_process import Controller, Webhook, install
from tests.e2e.test_node.images import ImageRoot
from tests.e2e.test_node.launcher import NodeProcess
from tests.servers.postgresql import PostgreSQLServer
from tests.servers.redis import RedisServer


@dataclass(frozen=True)
class Addresses:
    """Ports that a page or an example names, so that they cannot be any that are free."""

    postgresql: int
    redis: int
    named_in: str


EXAMPLE_ADDRESSES = Addresses(postgresql=15432, redis=16379, named_in="examples/02-stores.yaml")
DATABASE = "agents"
POSTGRESQL_ADMIN = "locus_admin"
AGENT_IMAGE = "locus-agent:example"
EXAMPLES = REPOSITORY / "examples"


class PortTakenError(RuntimeError):
    """The examples name a port that somebody else listens on."""


class Stage:
    """Everything that the demo needs to run, in ``directory``.

    Args:
        directory: Where all of it is written; emptied first.
        screen: Shows how it comes and goes.
        addresses: Where PostgreSQL and Valkey listen.

    Attributes:
        control_plane: the Kubernetes API.
        logins: files with the logins that the operator provisions with, by the name of the Secret made of them.
        logs: where all logs are.
        controller_log: that of the controller, JSON lines.
    """

    def __init__(self, directory: Path, screen: Screen, addresses: Addresses = EXAMPLE_ADDRESSES) -> None:
        self._screen = screen
        self._addresses = addresses
        self.directory = directory
        self._stack = ExitStack()
        self.control_plane = ControlPlane(directory)
        self.logs = self.control_plane.log_directory
        self.controller_log = self.logs / "controller.log"
        self.logins: dict[str, Path] = {}

    def start(self) -> None:
        """Start everything; what was started stays until `stop`."""
        addresses = self._addresses
        for product, port in (("PostgreSQL", addresses.postgresql), ("Redis", addresses.redis)):
            _check_port(product, port, addresses.named_in)
        shutil.rmtree(self.directory, ignore_errors=True)
        self.logs.mkdir(parents=True)
        # In a thread of their own while the control plane starts, which must be started from the main one.
        with ThreadPoolExecutor(2) as pool:
            postgresql, redis = pool.submit(self._start_postgresql), pool.submit(self._start_redis)
            with self._screen.step("Kubernetes: kube-apiserver, etcd, kube-controller-manager"):
                self._stack.enter_context(self.control_plane)
            with self._screen.step(f"PostgreSQL on port {addresses.postgresql}, Valkey on port {addresses.redis}"):
                postgresql.result()
                redis.result()
        with self._screen.step("locus-operator: custom resources, controller, admission webhook"):
            self._start_operator()
        with self._screen.step("a node that runs pods"):
            self._start_node()

    def stop(self) -> None:
        """Take everything down.

        Raises:
            RuntimeError: a process is left.
        """
        with self._screen.step("everything taken down"):
            self._stack.close()
            # Nobody has waited for a command that was interrupted.
            _, left = psutil.wait_procs(psutil.Process().children(recursive=True), timeout=5)
            if left:
                raise RuntimeError(f"processes are left: {', '.join(str(each) for each in left)}")

    def discard(self) -> None:
        """Remove what the servers wrote, logs included."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def _start_postgresql(self) -> None:
        server = PostgreSQLServer(log=self.logs / "postgresql.log", durable=False)
        self._stack.callback(server.close)
        server.start(self._addresses.postgresql)
        password = secrets.token_urlsafe(16)
        server.create_database(DATABASE).create_admin(POSTGRESQL_ADMIN, password)
        self._write_login("postgresql-admin", POSTGRESQL_ADMIN, password)

    def _start_redis(self) -> None:
        server = RedisServer(log=self.logs / "valkey.log", aclfile=True)
        self._stack.callback(server.close)
        server.start(self._addresses.redis)
        self._write_login("redis-admin", "default", server.password)

    def _write_login(self, name: str, user: str, password: str) -> None:
        path = self.directory / f"{name}.env"
        path.touch(mode=0o600)
        path.write_text(f"username={user}\npassword={password}\n")
        self.logins[name] = path

    def _start_operator(self) -> None:
        kubeconfig = install(self.control_plane)
        webhook = Webhook(self.control_plane, self.logs / "webhook.log")
        self._stack.callback(webhook.stop)
        webhook.start()
        webhook.register()
        controller = Controller(kubeconfig, self.controller_log)
        self._stack.callback(controller.stop)
        controller.start()

    def _start_node(self) -> None:
        image = agent_image()
        node = NodeProcess(self.directory / "node", self.control_plane.kubeconfig, {AGENT_IMAGE: image})
        self._stack.enter_context(node)


def agent_image() -> ImageRoot:
    """What a Dockerfile would make of ``examples/agent.py``: Python, the packages, and the agent in ``/app``."""
    image = ImageRoot.of_this_python(REPOSITORY)
    return replace(image, mounts={**image.mounts, "/app": str(EXAMPLES)}, working_dir="/app")


def _check_port(product: str, port: int, named_in: str) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise PortTakenError(
                f"port {port} of {HOST} is taken, and {named_in} expects {product} "
                f"there: end the process that listens on it (ss -ltnp 'sport = :{port}' shows it), and try again"
            ) from error
