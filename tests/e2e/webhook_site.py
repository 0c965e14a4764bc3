"""Webhooks whose certificate the controller keeps, each with a kubelet that brings it later than the other."""

import asyncio
import base64
import http
import http.client
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self, cast

from cryptography import x509
from kubernetes.aio.client import AdmissionregistrationV1Api, ApiClient, ApiException, Configuration, CoreV1Api
from kubernetes.aio.config import load_kube_config

from locus_operator.certificates import authorities_in
from tests.e2e.control_plane import HOST, REPOSITORY, ControlPlane, free_ports
from tests.e2e.operator_process import (
    NAMESPACE,
    WEBHOOK_ACCOUNT,
    Controller,
    install,
    operator_environment,
    webhook_configuration,
)
from tests.e2e.pods import agent, stores_of
from tests.e2e.test_node.volume_files import VolumeFile, publish
from tests.servers.processes import Child

SECRET: Final = "locus-operator-webhook-tls"
CONFIGURATION: Final = "locus-operator"
LAGS: Final = (0.2, 2.0)
"""Seconds after which each replica's kubelet brings a Secret that has changed."""
LOOK_SECONDS: Final = 0.1


@dataclass
class Replica:
    """A webhook process, and what a kubelet mounts for it."""

    directory: Path
    account: Path
    lag: float
    port: int = field(default_factory=lambda: free_ports(1)[0])
    health_port: int = field(default_factory=lambda: free_ports(1)[0])
    child: Child | None = None

    def start(self) -> None:
        """Start it, whether or not its files are there."""
        self.directory.mkdir(parents=True)
        volume = self.directory / "tls"
        settings = {
            "health_host": HOST,
            "webhook_host": HOST,
            "webhook_port": self.port,
            "webhook_health_port": self.health_port,
            "webhook_farewell_seconds": 0,
            "webhook_certificate": volume / "tls.crt",
            "webhook_key": volume / "tls.key",
        }
        program = [sys.executable, "-m", "tests.e2e.closing_webhook"]
        environment = operator_environment(settings) | {"KUBECONFIG": str(self.account)}
        log = self.directory / "webhook.log"
        self.child = Child("webhook", program, log=log, environment=environment, cwd=REPOSITORY)

    def readiness(self) -> tuple[int, str]:
        """What it answers to a readiness probe; status 0 while it does not listen."""
        connection = http.client.HTTPConnection(HOST, self.health_port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            response = connection.getresponse()
            return response.status, response.read().decode()
        except OSError:
            return 0, ""
        finally:
            connection.close()

    async def mount(self, core: CoreV1Api) -> None:
        """Bring each new version of the Secret, late."""
        brought = ""
        while True:
            secret = await read_secret(core)
            if secret and (version := secret["version"]) != brought:
                if brought:
                    await asyncio.sleep(self.lag)
                files = {name: VolumeFile(secret[name].encode(), 0o400) for name in ("tls.crt", "tls.key", "ca.crt")}
                publish(self.directory / "tls", files, None)
                brought = version
            await asyncio.sleep(LOOK_SECONDS)


@dataclass
class Admissions:
    """Pods that somebody creates without a pause."""

    created: int = 0
    failures: list[str] = field(default_factory=list)
    not_injected: list[str] = field(default_factory=list)

    async def go_on(self, core: CoreV1Api, namespace: str) -> None:
        """Create labelled pods for ever; note what goes wrong."""
        while True:
            name = f"agent-{self.created}"
            try:
                pod: Any = await core.create_namespaced_pod(namespace, cast("Any", agent(name, "support")))
            except ApiException as error:
                self.failures.append(str(json.loads(error.body or "{}").get("message", error.status)))
            else:
                if stores_of({"metadata": {"annotations": pod.metadata.annotations or {}}}) != ["support"]:
                    self.not_injected.append(name)
            self.created += 1
            await asyncio.sleep(0.02)


@dataclass
class Site:
    """Two webhooks that the API server calls for each pod, and what the cluster has about their certificates."""

    control_plane: ControlPlane
    kubeconfig: Path
    core: CoreV1Api
    admission: AdmissionregistrationV1Api
    replicas: list[Replica]
    directory: Path

    @classmethod
    @asynccontextmanager
    async def running(cls, control_plane: ControlPlane, directory: Path) -> AsyncIterator[Self]:
        """Register the webhooks without a `caBundle`; none runs yet."""
        kubeconfig = install(control_plane)
        account = control_plane.kubeconfig_for_service_account(WEBHOOK_ACCOUNT, NAMESPACE)
        replicas = [Replica(directory / f"webhook-{lag:g}", account, lag) for lag in LAGS]
        async with _client(control_plane.kubeconfig) as client:
            site = cls(
                control_plane, kubeconfig, CoreV1Api(client), AdmissionregistrationV1Api(client), replicas, directory
            )
            site.clear()
            site.register()
            try:
                yield site
            finally:
                site.clear()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Run the webhooks and their kubelets while the block runs."""
        for replica in self.replicas:
            replica.start()
        kubelets = [asyncio.create_task(each.mount(self.core)) for each in self.replicas]
        try:
            yield
        finally:
            for kubelet in kubelets:
                kubelet.cancel()
            for replica in self.replicas:
                if replica.child is not None:
                    replica.child.stop()
            ended = await asyncio.gather(*kubelets, return_exceptions=True)
            assert [each for each in ended if not isinstance(each, asyncio.CancelledError)] == []

    def clear(self) -> None:
        """Remove what the controller keeps, and the registration."""
        kubectl = self.control_plane.kubectl
        kubectl("delete", "mutatingwebhookconfiguration", CONFIGURATION, "--ignore-not-found")
        kubectl("delete", "secret", SECRET, f"--namespace={NAMESPACE}", "--ignore-not-found")

    def register(self) -> None:
        """As the chart does: without a `caBundle`. Both are called for each labelled pod, and both must answer."""
        configuration = webhook_configuration(f"https://{HOST}:{self.replicas[0].port}", b"")
        first, second = configuration["webhooks"]
        second["objectSelector"] = first["objectSelector"]
        del second["namespaceSelector"]
        second["clientConfig"]["url"] = f"https://{HOST}:{self.replicas[1].port}/mutate/selected"
        for webhook in (first, second):
            del webhook["clientConfig"]["caBundle"]
            webhook["failurePolicy"] = "Fail"
        self.control_plane.apply(configuration)

    def controller(self, validity: float | None) -> Controller:
        """A controller that makes certificates for so many seconds each, or none."""
        log = self.directory / "controller.log"
        if validity is None:
            return Controller(self.kubeconfig, log)
        settings = {
            "webhook_certificate_secret": SECRET,
            "webhook_configuration": CONFIGURATION,
            "webhook_service": "locus-operator-webhook",
            "webhook_certificate_days": validity / 86_400,
        }
        return Controller(self.kubeconfig, log, settings)

    async def secret(self) -> dict[str, str] | None:
        """Decoded entries of the Secret, and its `version`."""
        return await read_secret(self.core)

    async def bundles(self) -> list[str]:
        """The `caBundle` of each webhook."""
        found: Any = await self.admission.read_mutating_webhook_configuration(CONFIGURATION)
        return [base64.b64decode(each.client_config.ca_bundle or "").decode() for each in found.webhooks]

    async def trusted(self) -> set[x509.Certificate]:
        """The CAs that the API server trusts for both webhooks."""
        first, second = (set(authorities_in(each)) for each in await self.bundles())
        return first & second

    @asynccontextmanager
    async def admitting(self, namespace: str) -> AsyncIterator[Admissions]:
        """Create pods from the first one that is admitted until the end of the block."""
        await until(lambda: self.admits(namespace), "a pod is admitted")
        admissions = Admissions()
        task = asyncio.create_task(admissions.go_on(self.core, namespace))
        try:
            yield admissions
        finally:
            task.cancel()
            await asyncio.wait([task])
        if not task.cancelled():
            task.result()

    async def admits(self, namespace: str) -> bool:
        """Tell whether a pod would be admitted now."""
        try:
            await self.core.create_namespaced_pod(namespace, cast("Any", agent("probe", "support")), dry_run="All")
        except ApiException:
            return False
        return True


async def until(holds: Callable[[], Awaitable[bool]], what: str, timeout: float = 30) -> None:
    """Wait until something holds."""
    try:
        async with asyncio.timeout(timeout):
            while not await holds():  # noqa: ASYNC110 - it happens in other processes
                await asyncio.sleep(LOOK_SECONDS)
    except TimeoutError:
        raise AssertionError(f"{what}: not within {timeout:g} s") from None


async def read_secret(core: CoreV1Api) -> dict[str, str] | None:
    """Decoded entries of the Secret, and its `version`; None where there is none."""
    try:
        found: Any = await core.read_namespaced_secret(SECRET, NAMESPACE)
    except ApiException as error:
        if error.status == http.HTTPStatus.NOT_FOUND:
            return None
        raise
    entries = {name: base64.b64decode(value).decode() for name, value in (found.data or {}).items()}
    return entries | {"version": found.metadata.resource_version}


@asynccontextmanager
async def _client(kubeconfig: Path) -> AsyncIterator[ApiClient]:
    configuration = Configuration()
    await load_kube_config(config_file=str(kubeconfig), client_configuration=configuration)  # type: ignore[no-untyped-call]
    async with ApiClient(configuration) as client:
        yield client
