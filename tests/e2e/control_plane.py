"""A real Kubernetes control plane on loopback: etcd, kube-apiserver, kube-controller-manager.

Used by the tests and by the demo, so it knows nothing of pytest. ``hack/control-plane`` finds or
builds the binaries; nodes are not part of it (see ``tests.e2e.test_node``).
"""

import functools
import http.client
import json
import re
import shutil
import signal
import ssl
import subprocess
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from tests.e2e.certificates import CertificateDirectory, KeyPair
from tests.servers.processes import Child, free_port

HOST = "127.0.0.1"
START_TIMEOUT = 60.0
REPOSITORY = Path(__file__).resolve().parents[2]


class KubectlError(RuntimeError):
    """A ``kubectl`` command failed; the message holds the command and what it printed."""


def find_binaries() -> Path:
    """Return the directory of control plane binaries, building it first where there is none.

    Raises:
        RuntimeError: there is none, and it cannot be built here; the script has said why on stderr.
    """
    script = REPOSITORY / "hack" / "control-plane"
    result = subprocess.run([str(script)], stdout=subprocess.PIPE, text=True, check=False)
    if result.returncode != 0:
        raise RuntimeError(f"{script} found no control plane binaries; see its messages above")
    return Path(result.stdout.strip())


def free_ports(count: int) -> list[int]:
    """Return ``count`` different TCP ports that are free on loopback now, as `free_port` picks them."""
    ports: set[int] = set()
    while len(ports) < count:
        ports.add(free_port())
    return list(ports)


class ControlPlane:
    """Runs the three servers in ``directory`` while its ``with`` block is entered.

    Args:
        directory: where data, certificates, kubeconfigs and logs go; made if missing.
        binaries: a directory with the binaries; found by ``hack/control-plane`` if not given.
        audited: groups of users whose requests are written to `audit_log`.
    """

    def __init__(self, directory: Path, binaries: Path | None = None, audited: Iterable[str] = ()) -> None:
        self.directory = directory.resolve()
        self._audited = tuple(audited)
        self._given_binaries = binaries
        self._etcd_port, self._peer_port, self._api_port, self._manager_port = free_ports(4)
        self._servers: dict[str, Child] = {}

    # Lifecycle

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start everything and wait until it serves; on failure stop what was started.

        Raises:
            ServerError: a server did not come up; the message names its log.
        """
        self.log_directory.mkdir(parents=True, exist_ok=True)
        self._write_credentials()
        try:
            self.start_etcd()
            self.start_api_server()
            self.start_controller_manager()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the servers that run, the last started first."""
        for name in reversed(list(self._servers)):
            self.stop_server(name)

    def stop_server(self, name: str) -> None:
        """Stop the server called ``name`` (a key of `pids`); ``start_...`` starts it again."""
        server = self._servers.pop(name)
        # On SIGTERM an API server waits up to a minute for its watchers. Nothing is lost with it.
        server.kill() if name == "kube-apiserver" else server.stop()

    @property
    def pids(self) -> dict[str, int]:
        """Process ids of the running servers by name: ``etcd``, ``kube-apiserver``, ..."""
        return {name: server.pid for name, server in self._servers.items()}

    # Where things are

    @property
    def server(self) -> str:
        """URL of the API server."""
        return f"https://{HOST}:{self._api_port}"

    @property
    def kubeconfig(self) -> Path:
        """Kubeconfig of a cluster administrator (``system:masters``)."""
        return self.directory / "admin.kubeconfig"

    @property
    def log_directory(self) -> Path:
        """Directory with one log per server."""
        return self.directory / "logs"

    @property
    def audit_log(self) -> Path:
        """Requests of the audited groups, one JSON object a line."""
        return self.log_directory / "audit.log"

    @functools.cached_property
    def binaries(self) -> Path:
        """Directory of the server binaries and of a ``kubectl`` of the same version."""
        return self._given_binaries or find_binaries()

    @functools.cached_property
    def version(self) -> tuple[int, int]:
        """Kubernetes version, like ``(1, 20)``."""
        command = [str(self.binaries / "kube-apiserver"), "--version"]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found = re.search(r"v(\d+)\.(\d+)", output)
        if found is None:
            raise RuntimeError(f"{' '.join(command)} printed no version: {output!r}")
        return int(found[1]), int(found[2])

    @functools.cached_property
    def authority(self) -> CertificateDirectory:
        """The cluster's CA: issues certificates for webhooks, kubelets and users."""
        return CertificateDirectory(self.directory / "pki")

    # Using it

    def kubectl(self, *arguments: str, input: str | None = None, kubeconfig: Path | None = None) -> str:  # noqa: A002
        """Run ``kubectl`` as administrator, or as the user of ``kubeconfig``, and return its output.

        Raises:
            KubectlError: it failed.
        """
        command = self.kubectl_command(*arguments, kubeconfig=kubeconfig)
        result = subprocess.run(command, input=input, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise KubectlError(f"kubectl {' '.join(arguments)}: {result.stderr.strip()}")
        return result.stdout

    def kubectl_command(self, *arguments: str, kubeconfig: Path | None = None) -> list[str]:
        """Return the command line that `kubectl` runs, for callers that manage the process."""
        return [
            str(self.binaries / "kubectl"),
            f"--kubeconfig={kubeconfig or self.kubeconfig}",
            f"--cache-dir={self.directory / 'kubectl-cache'}",
            *arguments,
        ]

    def apply(self, *objects: dict[str, Any]) -> None:
        """Apply ``objects`` with ``kubectl apply``."""
        self.kubectl("apply", "--filename=-", input=yaml.safe_dump_all(objects))

    def get(self, kind: str, name: str, namespace: str = "default") -> dict[str, Any]:
        """Read one object.

        Raises:
            KubectlError: it does not exist, or cannot be read.
        """
        output = self.kubectl("get", kind, name, f"--namespace={namespace}", "--output=json")
        return dict(json.loads(output))

    def kubeconfig_for_user(self, user: str, groups: Iterable[str] = ()) -> Path:
        """Write a kubeconfig with a client certificate of ``user``, and return its path."""
        pair = self.authority.issue_client(user, tuple(groups))
        credentials = {"client-certificate": str(pair.certificate), "client-key": str(pair.key)}
        return self._write_kubeconfig(user, credentials)

    def kubeconfig_for_service_account(
        self, name: str, namespace: str = "default", expiration_seconds: int = 3600
    ) -> Path:
        """Write a kubeconfig with a fresh token (TokenRequest) of a service account, and return its path."""
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": expiration_seconds},
        }
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        response = self.kubectl("create", f"--raw={path}", "--filename=-", input=json.dumps(request))
        token = json.loads(response)["status"]["token"]
        return self._write_kubeconfig(f"{namespace}-{name}", {"token": token})

    def wait_for_service_account(self, name: str, namespace: str) -> None:
        """Wait until pods can use the account: that of a new namespace takes a moment.

        Raises:
            ServerError: it did not appear; the message ends with the log of its controller.
        """
        manager = self._servers["kube-controller-manager"]
        manager.wait_until_ready(lambda: self._service_account_ready(name, namespace), timeout=START_TIMEOUT)

    # Servers

    def start_etcd(self) -> None:
        """Start etcd; its data survives `stop_server`."""
        client, peer = f"http://{HOST}:{self._etcd_port}", f"http://{HOST}:{self._peer_port}"
        server = self._launch(
            "etcd",
            {
                "data-dir": self.directory / "etcd",
                "listen-client-urls": client,
                "advertise-client-urls": client,
                "listen-peer-urls": peer,
                "initial-advertise-peer-urls": peer,
                "initial-cluster": f"default={peer}",
                "unsafe-no-fsync": "true",
            },
        )
        server.wait_until_ready(lambda: self._answers(self._etcd_port, "/health", tls=False), timeout=START_TIMEOUT)

    def start_api_server(self) -> None:
        """Start kube-apiserver and wait for its ``/readyz``."""
        pki = self.authority.directory
        serving, kubelet = self._serving_pair, self._kubelet_client_pair
        server = self._launch(
            "kube-apiserver",
            {
                "etcd-servers": f"http://{HOST}:{self._etcd_port}",
                "bind-address": HOST,
                "advertise-address": HOST,
                "secure-port": self._api_port,
                # The endpoints of a loopback server would be refused: nobody can use them.
                "endpoint-reconciler-type": "none",
                "tls-cert-file": serving.certificate,
                "tls-private-key-file": serving.key,
                "client-ca-file": self.authority.pair.certificate,
                "authorization-mode": "RBAC",
                "allow-privileged": "true",
                "service-cluster-ip-range": "10.96.0.0/16",
                "service-account-issuer": "https://kubernetes.default.svc",
                "service-account-key-file": pki / "service-account.key",
                "service-account-signing-key-file": pki / "service-account.key",
                "kubelet-client-certificate": kubelet.certificate,
                "kubelet-client-key": kubelet.key,
                "kubelet-preferred-address-types": "InternalIP",
                **self._audit_flags(),
            },
        )
        server.wait_until_ready(lambda: self._answers(self._api_port, "/readyz"), timeout=START_TIMEOUT)

    def _audit_flags(self) -> dict[str, Any]:
        if not self._audited:
            return {}
        policy = {
            "apiVersion": "audit.k8s.io/v1",
            "kind": "Policy",
            "omitStages": ["RequestReceived"],
            "rules": [{"level": "Metadata", "userGroups": list(self._audited)}, {"level": "None"}],
        }
        path = self.directory / "audit-policy.yaml"
        path.write_text(yaml.safe_dump(policy))
        return {"audit-policy-file": path, "audit-log-path": self.audit_log}

    def start_controller_manager(self) -> None:
        """Start kube-controller-manager and wait until pods can be created."""
        serving = self._serving_pair
        flags = {
            "kubeconfig": self.kubeconfig,
            "bind-address": HOST,
            "secure-port": self._manager_port,
            "tls-cert-file": serving.certificate,
            "tls-private-key-file": serving.key,
            "service-account-private-key-file": self.authority.directory / "service-account.key",
            "root-ca-file": self.authority.pair.certificate,
            "cluster-signing-cert-file": self.authority.pair.certificate,
            "cluster-signing-key-file": self.authority.pair.key,
            "leader-elect": "false",
            "kube-api-qps": 200,
            "kube-api-burst": 400,
        }
        if self.version < (1, 24):
            flags["port"] = 0  # these also listen without TLS, on one fixed port
        server = self._launch("kube-controller-manager", flags)
        server.wait_until_ready(lambda: self._answers(self._manager_port, "/healthz"), timeout=START_TIMEOUT)
        # Pods are refused until their namespace has its service account (and, on old servers, its token).
        server.wait_until_ready(lambda: self._service_account_ready("default", "default"), timeout=START_TIMEOUT)

    def _launch(self, name: str, flags: dict[str, Any]) -> Child:
        command = [str(self.binaries / name), *(f"--{flag}={value}" for flag, value in flags.items())]
        server = Child(name, command, log=self.log_directory / f"{name}.log", death_signal=signal.SIGTERM)
        self._servers[name] = server
        return server

    def _service_account_ready(self, name: str, namespace: str) -> bool:
        body = self._get(self._api_port, f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}")
        return body is not None and (self.version >= (1, 24) or "secrets" in json.loads(body))

    def _answers(self, port: int, path: str, *, tls: bool = True) -> bool:
        return self._get(port, path, tls=tls) is not None

    def _get(self, port: int, path: str, *, tls: bool = True) -> bytes | None:
        """Return the body of a successful answer, else nothing."""
        connection: http.client.HTTPConnection
        if tls:
            connection = http.client.HTTPSConnection(HOST, port, timeout=5, context=self._tls)
        else:
            connection = http.client.HTTPConnection(HOST, port, timeout=5)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()
        return body if response.status == http.HTTPStatus.OK else None

    # Credentials

    @functools.cached_property
    def _serving_pair(self) -> KeyPair:
        return self.authority.issue_server("server")

    @functools.cached_property
    def _kubelet_client_pair(self) -> KeyPair:
        return self.authority.issue_client("kube-apiserver-kubelet-client", ("system:masters",))

    @functools.cached_property
    def _admin_pair(self) -> KeyPair:
        return self.authority.issue_client("admin", ("system:masters",))

    @functools.cached_property
    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.authority.pair.certificate))
        context.load_cert_chain(self._admin_pair.certificate, self._admin_pair.key)
        return context

    def _write_credentials(self) -> None:
        self.authority.write_key("service-account")
        pair = self._admin_pair
        credentials = {"client-certificate": str(pair.certificate), "client-key": str(pair.key)}
        shutil.move(self._write_kubeconfig("admin", credentials), self.kubeconfig)

    def _write_kubeconfig(self, user: str, credentials: dict[str, str]) -> Path:
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "test",
                    "cluster": {
                        "server": self.server,
                        "certificate-authority": str(self.authority.pair.certificate),
                    },
                }
            ],
            "users": [{"name": user, "user": credentials}],
            "contexts": [{"name": user, "context": {"cluster": "test", "user": user}}],
            "current-context": user,
        }
        path = self.directory / f"user-{user.replace(':', '_')}.kubeconfig"
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(config))
        return path
