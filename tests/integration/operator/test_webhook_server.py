"""The webhook as the API server meets it: over TLS, with good and bad requests, restarts and new certificates."""

import asyncio
import base64
import io
import json
import os
import signal
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import jsonpatch
import pytest
from cryptography import x509

from locus_operator.injection.known_stores import Snapshot, read_store
from locus_operator.telemetry import WebhookMetrics
from locus_operator.webhook.server import MAX_REQUEST_BYTES, Stores, serve
from tests.servers.processes import Child, free_port, wait_for
from tests.servers.tls import Certificate, CertificateAuthority

LABEL = "memory.locus.dev/checkpoint-store"


@dataclass(frozen=True)
class Webhook:
    """A running webhook and a client that trusts it."""

    url: str
    client: aiohttp.ClientSession

    async def post(self, body: Any, path: str = "/mutate", **headers: str) -> tuple[int, str]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} | headers
        async with self.client.post(f"{self.url}{path}", data=io.BytesIO(data), headers=headers) as response:
            return response.status, await response.text()

    async def get(self, path: str) -> int:
        async with self.client.get(f"{self.url}{path}") as response:
            return response.status


@dataclass(frozen=True)
class Files:
    """Where the webhook's certificate and key are."""

    certificate: Path
    key: Path

    def write(self, pair: Certificate) -> None:
        self.certificate.write_bytes(pair.certificate)
        self.key.write_bytes(pair.key)


@pytest.fixture
def files(tmp_path: Path, certificate_authority: CertificateAuthority) -> Files:
    files = Files(tmp_path / "tls.crt", tmp_path / "tls.key")
    files.write(certificate_authority.issue_server())
    return files


def trusting(authority: CertificateAuthority) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=authority.certificate.decode())


@asynccontextmanager
async def running(
    files: Files,
    authority: CertificateAuthority,
    stores: Stores | None = None,
    metrics: WebhookMetrics | None = None,
) -> AsyncIterator[Webhook]:
    """Serve in this process."""
    port, stop = free_port(), asyncio.Event()
    url = f"https://127.0.0.1:{port}"
    connector = aiohttp.TCPConnector(ssl=trusting(authority), force_close=True)
    async with asyncio.TaskGroup() as tasks, aiohttp.ClientSession(connector=connector) as client:
        address = "127.0.0.1", port
        tasks.create_task(serve(*address, files.certificate, files.key, stores, metrics=metrics, stop=stop))
        await until_alive(client, url)
        yield Webhook(url, client)
        stop.set()


async def until_alive(client: aiohttp.ClientSession, url: str) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                async with client.get(f"{url}/healthz") as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.05)


@pytest.fixture
async def webhook(files: Files, certificate_authority: CertificateAuthority) -> AsyncIterator[Webhook]:
    async with running(files, certificate_authority) as webhook:
        yield webhook


def review_of(pod: dict[str, Any]) -> dict[str, Any]:
    request = {"uid": "1", "operation": "CREATE", "namespace": "agents", "object": pod}
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}


def labelled_pod(**extra: Any) -> dict[str, Any]:
    metadata = {"name": "agent", "labels": {LABEL: "support"}}
    return {"kind": "Pod", "metadata": metadata, "spec": {"containers": [{"name": "agent"}]}} | extra


async def test_a_labelled_pod_gets_its_patch_over_tls(webhook: Webhook) -> None:
    pod = labelled_pod()

    status, text = await webhook.post(review_of(pod))

    response = json.loads(text)["response"]
    patched = jsonpatch.apply_patch(pod, json.loads(base64.b64decode(response["patch"])))
    assert (status, response["uid"], response["allowed"]) == (200, "1", True)
    assert patched["spec"]["volumes"][0]["secret"]["secretName"] == "support-binding"


async def test_it_is_alive_and_ready(webhook: Webhook) -> None:
    assert await webhook.get("/healthz") == 200
    assert await webhook.get("/readyz") == 200


@pytest.mark.parametrize(
    ("body", "content_type", "status", "message"),
    [
        (b"{", "application/json", 400, "no JSON"),
        (b"\xff", "application/json", 400, "no JSON"),
        ({"kind": "Pod"}, "application/json", 400, "expected a JSON object of kind AdmissionReview"),
        ({}, "text/plain", 415, "send Content-Type: application/json"),
    ],
)
async def test_a_bad_request_is_told_what_is_wrong(
    webhook: Webhook, body: Any, content_type: str, status: int, message: str
) -> None:
    answer = await webhook.post(body, **{"Content-Type": content_type})

    assert answer[0] == status
    assert message in answer[1]


async def test_a_request_beyond_the_limit_is_refused(webhook: Webhook) -> None:
    status, _ = await webhook.post(b" " * (MAX_REQUEST_BYTES + 1))

    assert status == 413


async def test_a_pod_of_the_largest_size_is_accepted(webhook: Webhook) -> None:
    status, text = await webhook.post(review_of(labelled_pod(padding="x" * 3_000_000)))

    assert status == 200
    assert "patch" in json.loads(text)["response"]


@dataclass
class ListedStores:
    """What a cache knows, said by hand."""

    snapshot: Snapshot
    not_ready: str = ""


async def test_pods_are_selected_on_the_path_for_namespaces_that_have_opted_in(
    files: Files, certificate_authority: CertificateAuthority
) -> None:
    store = read_store({"metadata": {"name": "support"}, "spec": {"pods": {"selector": {}}}})
    pod = {"kind": "Pod", "metadata": {"name": "agent"}, "spec": {"containers": [{"name": "agent"}]}}
    stores = ListedStores({"agents": {"support": store}})
    async with running(files, certificate_authority, stores) as webhook:
        _, here = await webhook.post(review_of(pod))
        _, there = await webhook.post(review_of(pod), "/mutate/selected")

    assert "patch" not in json.loads(here)["response"]
    assert "patch" in json.loads(there)["response"]


async def test_it_is_not_ready_before_the_stores_are_known_and_says_why(
    files: Files, certificate_authority: CertificateAuthority
) -> None:
    stores = ListedStores({}, not_ready="the API server does not answer")
    async with running(files, certificate_authority, stores) as webhook:
        async with webhook.client.get(f"{webhook.url}/readyz") as response:
            assert (response.status, await response.text()) == (503, "the API server does not answer")
        status, text = await webhook.post(review_of(labelled_pod()))
        stores.not_ready = ""
        assert await webhook.get("/readyz") == 200

    assert status == 200
    assert "patch" in json.loads(text)["response"], "who asks nevertheless gets what is true of most stores"


async def test_without_a_cluster_it_says_what_to_do(files: Files, tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("KUBE", "LOCUS_"))}
    child = Child(
        "webhook",
        [sys.executable, "-m", "locus_operator.cli", "webhook"],
        log=tmp_path / "webhook.log",
        environment=environment | {"HOME": str(tmp_path)},
    )
    await asyncio.to_thread(wait_for, lambda: not child.running, timeout=20, what="the webhook ends")

    assert "set LOCUS_OPERATOR_WEBHOOK_WATCH=false to inject without knowing the stores" in child.log_tail()
    assert "Traceback" not in child.log_tail()


async def test_only_these_paths_exist(webhook: Webhook) -> None:
    assert await webhook.get("/") == 404
    assert await webhook.get("/mutate") == 405


async def test_plain_http_is_not_answered(webhook: Webhook) -> None:
    with pytest.raises(aiohttp.ClientError):
        async with webhook.client.get(webhook.url.replace("https", "http") + "/healthz"):
            pass


async def test_a_replaced_certificate_is_used_from_the_next_handshake_on(webhook: Webhook, files: Files) -> None:
    other = CertificateAuthority("another CA")
    files.write(other.issue_server())

    connector = aiohttp.TCPConnector(ssl=trusting(other))
    async with aiohttp.ClientSession(connector=connector) as client:
        assert await Webhook(webhook.url, client).get("/healthz") == 200

    with pytest.raises(aiohttp.ClientConnectorCertificateError):
        await webhook.get("/healthz")


async def test_a_half_replaced_certificate_keeps_the_old_one(webhook: Webhook, files: Files) -> None:
    files.certificate.write_bytes(CertificateAuthority("another CA").issue_server().certificate)

    assert await webhook.get("/healthz") == 200


def served(metrics: WebhookMetrics) -> tuple[float | None, ...]:
    """Beginning and end of the certificate, as Prometheus is told."""
    name = "locus_operator_webhook_served_certificate_{}_timestamp_seconds"
    return tuple(metrics.registry.get_sample_value(name.format(each)) for each in ("start", "expiry"))


def validity(pair: Certificate) -> tuple[float, float]:
    certificate = x509.load_pem_x509_certificate(pair.certificate)
    return certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()


async def test_its_metrics_tell_when_the_certificate_ends_that_the_next_handshake_gets(
    files: Files, certificate_authority: CertificateAuthority
) -> None:
    metrics = WebhookMetrics()
    assert served(metrics) == (0, 0)
    first, second = (certificate_authority.issue_server(lifetime=timedelta(hours=hours)) for hours in (2, 3))
    files.write(first)
    async with running(files, certificate_authority, metrics=metrics):
        assert served(metrics) == validity(first)
        files.certificate.write_bytes(second.certificate)
        assert served(metrics) == validity(first), "without its key it cannot be used"
        files.write(second)
        assert served(metrics) == validity(second), "whether or not somebody calls meanwhile"


async def test_certificate_and_key_that_do_not_belong_together_are_refused_at_start(
    files: Files, certificate_authority: CertificateAuthority
) -> None:
    files.key.write_bytes(certificate_authority.issue_server().key)

    with pytest.raises(ssl.SSLError):
        await serve("127.0.0.1", free_port(), files.certificate, files.key, stop=asyncio.Event())


# The process


@dataclass(frozen=True)
class Process:
    """A webhook process."""

    child: Child
    port: int


@pytest.fixture
def process(files: Files, tmp_path: Path) -> Process:
    port = free_port()
    environment = os.environ | {
        "LOCUS_OPERATOR_WEBHOOK_HOST": "127.0.0.1",
        "LOCUS_OPERATOR_WEBHOOK_PORT": str(port),
        "LOCUS_OPERATOR_WEBHOOK_CERTIFICATE": str(files.certificate),
        "LOCUS_OPERATOR_WEBHOOK_KEY": str(files.key),
        "LOCUS_OPERATOR_WEBHOOK_WATCH": "false",
        "LOCUS_OPERATOR_WEBHOOK_FAREWELL_SECONDS": "1",
    }
    code = "from locus_operator.webhook.command import run; run()"
    return Process(
        Child("webhook", [sys.executable, "-c", code], log=tmp_path / "webhook.log", environment=environment), port
    )


async def test_sigterm_finishes_the_request_that_has_begun(
    process: Process, certificate_authority: CertificateAuthority
) -> None:
    url = f"https://127.0.0.1:{process.port}"
    connector = aiohttp.TCPConnector(ssl=trusting(certificate_authority), force_close=True)
    body = json.dumps(review_of(labelled_pod())).encode()
    async with aiohttp.ClientSession(connector=connector) as client:
        await until_alive(client, url)
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", process.port, ssl=trusting(certificate_authority), server_hostname="127.0.0.1"
        )
        head = f"POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        # The server has answered 100 when the handler waits for the body: the request has begun.
        writer.write(head.encode() + b"Expect: 100-continue\r\n\r\n")
        assert b"100" in await reader.readuntil(b"\r\n\r\n")

        process.child.send(signal.SIGTERM)
        await until_refused(client, url)
        writer.write(body)
        answer = await asyncio.wait_for(reader.read(), 20)
        writer.close()

    assert answer.startswith(b"HTTP/1.1 200")
    assert b'"allowed": true' in answer
    # Without a second signal: one that arrives while Python takes its event loop down is complained about in the log.
    await asyncio.to_thread(wait_for, lambda: not process.child.running, timeout=20, what="the webhook ends")
    assert "Traceback" not in process.child.log_tail()


async def test_after_sigterm_it_goes_on_for_who_has_not_heard_and_keeps_no_connection(
    process: Process, certificate_authority: CertificateAuthority
) -> None:
    url = f"https://127.0.0.1:{process.port}"
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting(certificate_authority))) as client:
        await until_alive(client, url)
        async with client.post(f"{url}/mutate", json=review_of(labelled_pod())) as response:
            assert response.headers.get("Connection") != "close"
        process.child.send(signal.SIGTERM)
        await until_stopping(client, url)
        for _ in range(2):
            async with client.post(f"{url}/mutate", json=review_of(labelled_pod())) as response:
                assert "patch" in (await response.json())["response"]
                assert response.headers["Connection"] == "close"
        await until_refused(client, url)


async def until_stopping(client: aiohttp.ClientSession, url: str) -> None:
    async with asyncio.timeout(20):
        while True:
            async with client.get(f"{url}/readyz") as response:
                if response.status == 503:
                    return
            await asyncio.sleep(0.01)


async def until_refused(client: aiohttp.ClientSession, url: str) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                async with client.get(f"{url}/healthz"):
                    await asyncio.sleep(0.05)
            except aiohttp.ClientConnectorError:
                return


async def test_its_log_names_the_pod_and_not_what_is_in_it(
    process: Process, certificate_authority: CertificateAuthority
) -> None:
    connector = aiohttp.TCPConnector(ssl=trusting(certificate_authority))
    pod = labelled_pod(spec={"containers": [{"name": "c", "env": [{"name": "TOKEN", "value": "hunter2"}]}]})
    async with aiohttp.ClientSession(connector=connector) as client:
        webhook = Webhook(f"https://127.0.0.1:{process.port}", client)
        await until_alive(client, webhook.url)
        status, _ = await webhook.post(review_of(pod))
    await asyncio.to_thread(process.child.stop)

    lines = [json.loads(line) for line in process.child.log.read_text().splitlines()]
    (line,) = [line for line in lines if line["message"] == "reviewed a pod"]
    assert status == 200
    assert (line["namespace"], line["pod"], line["stores"]) == ("agents", "agent", ["support"])
    assert "hunter2" not in process.child.log.read_text()
