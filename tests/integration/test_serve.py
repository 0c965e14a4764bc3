"""`locus-memory serve` as a process: what it lets in, what it survives, how it ends."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from locus_memory.backends import FileCheckpointer, HTTPCheckpointer
from locus_memory.binding import DirectoryBinding
from locus_memory.errors import AuthenticationError, BackendUnavailableError, StateTooLargeError
from locus_memory.opening import open_checkpointer
from locus_memory.retry import RetryPolicy
from tests.servers.checkpoint import CheckpointServer
from tests.servers.report import ServerReport
from tests.servers.tls import CertificateAuthority


@pytest.fixture
def threads(tmp_path: Path) -> Path:
    """Directory of the store behind the server."""
    return tmp_path / "threads"


@pytest.fixture
def server(threads: Path, tmp_path: Path, server_report: ServerReport) -> Iterator[CheckpointServer]:
    with CheckpointServer(f"file://{threads}", directory=tmp_path / "server") as running:
        server_report.started("server", running.product, running.version)
        yield running


def _run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "locus_memory.cli", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


@pytest.mark.parametrize(
    ("arguments", "environment", "complaint"),
    [
        ((), {}, "--token-file"),
        (("--token-file=/no/such/file",), {}, "/no/such/file"),
        ((), {"LOCUS_SERVE_TOKENS": "short"}, "16 characters"),
        (("--no-auth", "--host=0.0.0.0"), {}, "--no-auth-from-anywhere"),
        (("--no-auth",), {"LOCUS_SERVE_TOKENS": "long-enough-for-a-token"}, "--no-auth"),
        (("--no-auth", "--tls-cert=/x"), {}, "--tls-key"),
        (("--no-auth", "--url=nonsense:"), {}, "unknown scheme"),
        (("--no-auth", "--url=memory:", "--store=x"), {}, "write one"),
    ],
)
def test_it_refuses_to_start_with_one_line(
    arguments: tuple[str, ...], environment: dict[str, str], complaint: str
) -> None:
    done = _run("serve", *arguments, **{"LOCUS_CHECKPOINT_URL": "memory:", **environment})
    assert done.returncode == 2
    assert complaint in done.stderr
    assert done.stderr.count("\n") == 1
    assert "short" not in done.stderr.replace("too short", "")


def test_without_a_token_nothing_but_health_is_told(server: CheckpointServer) -> None:
    with httpx.Client(base_url=server.base_url) as client:
        assert [client.get(path).status_code for path in ("/healthz", "/readyz", "/health")] == [200] * 3
        for path in ("/capabilities", "/openapi.json", "/threads/t/checkpoints", "/nothing"):
            answer = client.get(path)
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
            assert answer.headers["www-authenticate"] == "Bearer"
        wrong = client.get("/capabilities", headers={"Authorization": "Bearer wrong-wrong-wrong-wrong"})
        assert wrong.status_code == 401


async def test_tokens_rotate_under_way(server: CheckpointServer, tmp_path: Path) -> None:
    def bind(token: str) -> None:
        document = {"version": 1, "type": "http", "base_url": server.base_url}
        new = tmp_path / "..new"
        new.write_text(json.dumps(document | {"headers": {"Authorization": f"Bearer {token}"}}))
        new.rename(tmp_path / "connection.json")

    def accept(*tokens: str) -> None:
        server.token_file.write_text("# rotated by hand\n" + "".join(f"{token}\n" for token in tokens))

    old, new = server.password, "the-next-token-is-this"
    bind(old)
    async with open_checkpointer(DirectoryBinding(tmp_path)) as checkpointer:
        await checkpointer.save({"n": 1}, "t")
        accept(old, new)
        await checkpointer.save({"n": 2}, "t")
        bind(new)
        accept(new)
        await asyncio.gather(*(checkpointer.save({"n": 3}, f"t{number}") for number in range(8)))
        accept("another-token-altogether")
        with pytest.raises(AuthenticationError) as caught:
            await checkpointer.load("t")
        assert new not in str(caught.value)


def test_a_request_over_the_limit_is_refused_before_it_is_taken_in(threads: Path, tmp_path: Path) -> None:
    with CheckpointServer(f"file://{threads}", "--max-body-bytes=100000", directory=tmp_path / "server") as server:
        headers = {"Authorization": f"Bearer {server.password}"}
        large = os.urandom(150_000).hex()
        for content in (large.encode(), iter([large[:50_000].encode()] * 6)):
            answer = httpx.post(f"{server.base_url}/v1/put", content=content, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (413, "state_too_large")

        async def save() -> None:
            async with HTTPCheckpointer(server.url) as checkpointer:
                with pytest.raises(StateTooLargeError, match="--max-body-bytes"):
                    await checkpointer.save({"text": large}, "t")

        asyncio.run(save())
        basic = httpx.post(f"{server.base_url}/threads/t/checkpoints", json={"state": {"t": large}}, headers=headers)
        assert basic.status_code == 413
    assert not threads.exists()


async def test_who_sends_too_slowly_is_cut_off_and_others_are_served(threads: Path, tmp_path: Path) -> None:
    options = ("--head-timeout=0.5", "--transfer-timeout=0.5")
    with CheckpointServer(f"file://{threads}", *options, directory=tmp_path / "server") as server:
        heads = [b"", b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: "]
        token = f"Authorization: Bearer {server.password}\r\n".encode()
        body = b"POST /v1/put HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n" + token + b"\r\nabc"
        after_an_answer = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /he"
        for sent in (*heads, body, after_an_answer):
            reader, writer = await asyncio.open_connection(server.host, server.port)
            writer.write(sent)
            async with HTTPCheckpointer(server.url) as checkpointer:
                await checkpointer.save({}, "t")
            async with asyncio.timeout(5):
                answer = await _trickle(reader, writer)
            assert (b" 408 " in answer) == (sent is body)
            writer.close()


async def _trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Send a byte now and then until the server has had enough; return what it said."""
    received = b""
    while True:
        try:
            async with asyncio.timeout(0.1):
                piece = await reader.read(4096)
            if not piece:
                return received
            received += piece
        except TimeoutError:
            writer.write(b"x")
        except ConnectionError:
            return received


async def test_who_does_not_read_the_answer_is_cut_off(threads: Path, tmp_path: Path) -> None:
    with CheckpointServer(f"file://{threads}", "--transfer-timeout=0.5", directory=tmp_path / "server") as server:
        async with HTTPCheckpointer(server.url, compression=False) as checkpointer:
            await checkpointer.save({"text": "x" * 20_000_000}, "t")
        reader, writer = await asyncio.open_connection(server.host, server.port, limit=1024)
        content = b'{"thread_id": "t"}'
        head = f"POST /v1/get HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.password}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        writer.write(head.encode() + content)
        await reader.read(10)
        async with asyncio.timeout(5):
            while server.connections():  # noqa: ASYNC110 - another process raises no event
                await asyncio.sleep(0.05)
        writer.close()


def test_a_terminated_server_finishes_what_it_has_taken_and_takes_nothing_more(
    server: CheckpointServer, threads: Path
) -> None:
    acknowledged: list[str] = []

    async def save(checkpointer: HTTPCheckpointer, worker: int) -> None:
        for number in range(10_000):
            try:
                acknowledged.append(await checkpointer.save({"text": "x" * 50_000}, f"t{worker}", f"{worker}-{number}"))
            except BackendUnavailableError:
                return

    async def save_until_it_ends() -> None:
        async with HTTPCheckpointer(server.url, retry=RetryPolicy(deadline=0.3)) as checkpointer:
            saving = [asyncio.create_task(save(checkpointer, worker)) for worker in range(8)]
            while len(acknowledged) < 40:  # noqa: ASYNC110 - counted where it happens
                await asyncio.sleep(0.01)
            await asyncio.to_thread(server.stop)
            await asyncio.gather(*saving)

    async def stored() -> set[str]:
        async with FileCheckpointer(threads) as checkpointer:
            found = [await checkpointer.list_checkpoints(f"t{worker}", 10_000) for worker in range(8)]
        return {name for names in found for name in names}

    asyncio.run(save_until_it_ends())
    assert server.exit_code == 0
    assert set(acknowledged) <= asyncio.run(stored())
    assert len(acknowledged) >= 40
    # Every answer that the server gave was a success: it ended after its last request, and not in one.
    statuses = [entry["status"] for entry in server.access_log() if entry["route"] == "/v1/put"]
    assert set(statuses) <= {204, 499}
    assert statuses.count(204) >= len(acknowledged)


def test_the_access_log_names_routes_and_neither_ids_nor_tokens(server: CheckpointServer) -> None:
    headers = {"Authorization": f"Bearer {server.password}"}
    url = f"{server.base_url}/threads/secret-thread/checkpoints"
    assert httpx.post(url, json={"state": {"text": "secret-state"}}, headers=headers).status_code == 201
    assert httpx.get(f"{url}/secret-checkpoint?limit=3", headers=headers).status_code == 404
    assert httpx.post(url, json={"state": "secret-value"}, headers=headers).status_code == 422
    server.stop()
    log = server.log.read_text()
    assert "secret" not in log
    assert server.password not in log
    routes = [(entry["method"], entry["route"], entry["status"]) for entry in server.access_log()]
    assert ("POST", "/threads/{thread_id}/checkpoints", 201) in routes
    assert ("GET", "/threads/{thread_id}/checkpoints/{checkpoint_id}", 404) in routes


def test_it_is_not_ready_while_its_backend_is_away(tmp_path: Path) -> None:
    with CheckpointServer("redis://127.0.0.1:1/0", directory=tmp_path) as server:
        assert httpx.get(f"{server.base_url}/healthz").status_code == 200
        answer = httpx.get(f"{server.base_url}/readyz")
        assert (answer.status_code, answer.json()["code"]) == (503, "backend_unavailable")
        assert "127.0.0.1:1" not in answer.text
        assert answer.headers["retry-after"] == "1"


def test_tls_is_verified(tmp_path: Path, certificate_authority: CertificateAuthority) -> None:
    pair = certificate_authority.issue_server().write(tmp_path, "server")
    authority = certificate_authority.certificate.decode()
    with CheckpointServer(f"file://{tmp_path}/threads", directory=tmp_path / "server", tls=pair) as server:

        async def use() -> None:
            async with HTTPCheckpointer(server.url, ca=authority) as checkpointer:
                await checkpointer.save({"n": 1}, "t")
                assert await checkpointer.load("t") == {"n": 1}
            async with HTTPCheckpointer(server.url, retry=RetryPolicy(deadline=0.5)) as checkpointer:
                with pytest.raises(BackendUnavailableError, match="certificate"):
                    await checkpointer.load("t")

        asyncio.run(use())


def test_an_interrupt_ends_it_in_the_same_way(server: CheckpointServer) -> None:
    server.interrupt()
    assert server.exit_code == 0


async def test_idle_clients_do_not_hold_up_the_end_with_tls(tmp_path: Path) -> None:
    authority = CertificateAuthority()
    pair = authority.issue_server().write(tmp_path, "server")
    with CheckpointServer(f"file://{tmp_path}/threads", directory=tmp_path / "server", tls=pair) as server:
        ca = authority.certificate.decode()
        async with HTTPCheckpointer(server.url, ca=ca) as idle:
            await idle.save({"n": 1}, "t")
            # Nobody reads an idle connection, so the end of TLS stays unanswered.
            begun = time.monotonic()
            server.stop()
            assert time.monotonic() - begun < 10
            assert server.exit_code == 0
