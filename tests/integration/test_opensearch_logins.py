"""Logins, hosts and certificates of OpenSearch, and what its client writes into logs."""

import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from locus_memory.adapter import StorageBackendAdapter
from locus_memory.backends import opensearch_checkpointer
from locus_memory.errors import AuthenticationError, BackendUnavailableError
from locus_memory.retry import RetryPolicy
from tests.servers.opensearch import OpenSearchServer
from tests.servers.processes import free_port
from tests.servers.tls import CertificateAuthority

QUICK = RetryPolicy(deadline=1)
STATE = {"text": "needle"}


@pytest.fixture
def server(opensearch_server: OpenSearchServer) -> OpenSearchServer:
    return opensearch_server


@pytest.fixture
def settings(server: OpenSearchServer, opensearch_index: str) -> dict[str, Any]:
    return {
        "hosts": server.address,
        "index_name": opensearch_index,
        "username": "admin",
        "password": server.password,
    }


@pytest.fixture
async def checkpointer(settings: dict[str, Any]) -> AsyncIterator[StorageBackendAdapter]:
    async with opensearch_checkpointer(**settings) as opened:
        yield opened


async def test_a_login_that_may_only_read_can_do_that(
    settings: dict[str, Any], checkpointer: StorageBackendAdapter, server: OpenSearchServer
) -> None:
    await checkpointer.save(STATE, "t")
    server.add_user("reader", "secret", "readall")
    async with opensearch_checkpointer(**settings | {"username": "reader", "password": "secret"}) as reader:
        assert await reader.load("t") == STATE
        with pytest.raises(AuthenticationError, match="'reader' lacks a privilege"):
            await reader.save({}, "t")


async def test_a_wrong_password_is_an_error_that_does_not_show_it(settings: dict[str, Any]) -> None:
    async with opensearch_checkpointer(**settings | {"password": "wrong-secret"}) as checkpointer:
        with pytest.raises(AuthenticationError, match="'admin' is rejected") as caught:
            await checkpointer.load("t")
    assert "wrong-secret" not in f"{caught.value!r} {caught.value.__cause__!r}"


async def test_another_host_answers_for_one_that_is_away(settings: dict[str, Any], server: OpenSearchServer) -> None:
    hosts = [f"127.0.0.1:{free_port()}", {"host": server.host, "port": server.port}, f"127.0.0.1:{free_port()}"]
    async with opensearch_checkpointer(**settings | {"hosts": hosts}) as checkpointer:
        for number in range(6):
            await checkpointer.save({"n": number}, "t", str(number))
        assert await checkpointer.list_checkpoints("t", 10) == ["5", "4", "3", "2", "1", "0"]


async def test_no_log_shows_states_or_passwords(
    checkpointer: StorageBackendAdapter, server: OpenSearchServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await checkpointer.save({"text": "haystack"}, "t", metadata={"tag": "visible"})
    assert await checkpointer.search("haystack")
    server.fail("_mget", "drop_before")
    assert await checkpointer.load("t")
    assert [word for word in ("haystack", "visible", server.password) if word in caplog.text] == []


async def test_a_certificate_is_verified_unless_that_is_turned_off(
    tls_opensearch_server: OpenSearchServer, opensearch_index: str
) -> None:
    settings: dict[str, Any] = {
        "hosts": tls_opensearch_server.address.removeprefix("https://"),
        "index_name": opensearch_index,
        "username": "admin",
        "password": tls_opensearch_server.password,
    }
    stranger = CertificateAuthority().certificate.decode()
    async with opensearch_checkpointer(**settings, ca_certs=stranger, retry=QUICK) as checkpointer:
        with pytest.raises(BackendUnavailableError, match="certificate verify failed"):
            await checkpointer.save(STATE, "t")
    async with opensearch_checkpointer(**settings, use_ssl=True, verify_certs=False) as checkpointer:
        await checkpointer.save(STATE, "t")
    async with opensearch_checkpointer(**settings, ca_certs=tls_opensearch_server.ca) as checkpointer:
        assert await checkpointer.load("t") == STATE
