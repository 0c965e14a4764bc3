"""The real python-oracledb without a database: what it does where a server is away, and what it reads of a wallet.

Here no emulator is installed. Nothing answers as Oracle would; the listeners only accept, close, or say nothing.
"""

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import oracledb
import pytest

from locus_memory.adapter import StorageBackendAdapter
from locus_memory.backends import oracle_checkpointer
from locus_memory.backends.oracle_client import connect_parameters
from locus_memory.connection import OracleConnection
from locus_memory.errors import BackendUnavailableError, BindingError, CheckpointError
from locus_memory.retry import RetryPolicy
from tests.servers.tls import CertificateAuthority

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()  # until the client gives up


async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say nothing, and end."""


@asynccontextmanager
async def listener(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Listen on a port; the connect string of a service there. At the end all connections must be closed."""
    served: list[asyncio.Task[None] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(asyncio.current_task())
        await handler(reader, writer)
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}/service"
    server.close()
    await server.wait_closed()
    async with asyncio.timeout(5):
        await asyncio.gather(*(task for task in served if task))


def opened(dsn: str, deadline: float = 1, **arguments: str) -> StorageBackendAdapter:
    return oracle_checkpointer(dsn, "agent", "s3cret", retry=RetryPolicy(deadline=deadline), **arguments)  # type: ignore[arg-type]


async def test_the_driver_is_the_real_one() -> None:
    assert oracledb.connect_async.__module__ == "oracledb.connection"


async def test_a_closed_port_is_an_outage_and_not_an_empty_answer() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        async with opened(f"127.0.0.1:{bound.getsockname()[1]}/service") as checkpointer:
            with pytest.raises(BackendUnavailableError, match="DPY-6005") as caught:
                await checkpointer.load("t")
    assert "s3cret" not in str(caught.value)


async def test_a_listener_that_closes_is_an_outage() -> None:
    async with listener(closing) as dsn, opened(dsn) as checkpointer:
        with pytest.raises(BackendUnavailableError, match="DPY-6005"):
            await checkpointer.load("t")


async def test_a_silent_listener_is_an_outage_at_the_deadline_for_all_callers_and_closing_does_not_wait() -> None:
    # The driver's own pool would hang here for ever, its close() included.
    async with listener(silent) as dsn:
        checkpointer = opened(dsn)
        begin = time.monotonic()
        outcomes = await asyncio.gather(*(checkpointer.load("t") for _ in range(4)), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [BackendUnavailableError] * 4
        await checkpointer.close()
        assert time.monotonic() - begin < 2


async def test_an_alias_that_no_tnsnames_has_is_an_error_of_the_document(tmp_path: Path) -> None:
    (tmp_path / "tnsnames.ora").write_text("other = (DESCRIPTION=(ADDRESS=(PROTOCOL=tcp)(HOST=h)(PORT=1)))")
    async with opened("mydb_low", wallet_location=str(tmp_path)) as checkpointer:
        with pytest.raises(BindingError, match="DPY-4000"):
            await checkpointer.load("t")
    async with opened("mydb_low") as checkpointer:
        with pytest.raises(BindingError, match="DPY-4027"):
            await checkpointer.load("t")


async def test_the_wallet_below_the_home_directory_has_the_aliases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "wallets").mkdir()
    async with listener(closing) as dsn:
        port = dsn.partition(":")[2].partition("/")[0]
        address = f"(ADDRESS=(PROTOCOL=tcp)(HOST=127.0.0.1)(PORT={port}))"
        (tmp_path / "wallets" / "tnsnames.ora").write_text(
            f"mydb_low = (DESCRIPTION={address}(CONNECT_DATA=(SERVICE_NAME=service)))"
        )
        async with opened("mydb_low", wallet_location="~/wallets") as checkpointer:
            # It was found there: the listener behind it closed the connection.
            with pytest.raises(BackendUnavailableError, match="DPY-6005"):
                await checkpointer.load("t")


async def test_a_wallet_without_its_file_is_an_error_of_the_document(tmp_path: Path) -> None:
    async with listener(closing) as dsn, opened(f"tcps://{dsn}", wallet_location=str(tmp_path)) as checkpointer:
        with pytest.raises(CheckpointError, match=r"DPY-\d+"):
            await checkpointer.load("t")


async def test_the_server_s_certificate_is_verified(
    certificate_authority: CertificateAuthority, tmp_path: Path
) -> None:
    server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_side.load_cert_chain(*certificate_authority.issue_server().write(tmp_path, "server"))
    ours, another = (each.certificate.decode() for each in (certificate_authority, CertificateAuthority("Another")))
    async with listener(silent, server_side) as dsn:
        async with opened(f"tcps://{dsn}".replace("127.0.0.1", "localhost"), ca=another) as checkpointer:
            with pytest.raises(BackendUnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
                await checkpointer.load("t")
        # Past the handshake there is the silence of a listener that is none.
        async with opened(f"tcps://{dsn}".replace("127.0.0.1", "localhost"), ca=ours) as checkpointer:
            with pytest.raises(BackendUnavailableError, match=r"no answer within 1 s$"):
                await checkpointer.load("t")
    with pytest.raises(BindingError, match="ca: no certificates in PEM"):
        await opened("tcps://127.0.0.1:1/service", ca="no certificate").load("t")


def test_every_argument_reaches_the_driver_and_the_driver_knows_it() -> None:
    connection = OracleConnection(
        dsn="db/service",
        username="agent",
        password="s3cret",
        wallet_location="/wallet",
        wallet_password="w4llet",
        ssl_server_dn_match=False,
        ssl_server_cert_dn="CN=db",
    )
    arguments = connect_parameters(connection)
    parameters = oracledb.ConnectParams(**{name: value for name, value in arguments.items() if name != "dsn"})
    assert (parameters.user, parameters.config_dir, parameters.wallet_location) == ("agent", "/wallet", "/wallet")
    assert (parameters.ssl_server_dn_match, parameters.ssl_server_cert_dn) == (False, "CN=db")
    assert parameters.tcp_connect_timeout == 5
    assert "s3cret" not in repr(connection)
    assert "w4llet" not in repr(connection)
