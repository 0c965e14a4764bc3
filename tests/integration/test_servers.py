"""The servers are what other tests take them for: closed to strangers, durable, gone at the end."""

import asyncio
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg
import pytest
import redis
from psycopg import sql

from tests.servers.postgresql import Database, PostgreSQLServer, TLSPostgreSQLServer
from tests.servers.processes import Child, ServerError, free_port, wait_for
from tests.servers.redis import RedisServer, TLSRedisServer
from tests.servers.report import ServerReport
from tests.servers.server import Server
from tests.servers.tls import CertificateAuthority


@pytest.fixture(scope="module")
def own_postgresql() -> Iterator[PostgreSQLServer]:
    """A server that the tests of this module may kill."""
    with PostgreSQLServer() as server:
        server.execute(sql.SQL("CREATE TABLE notes (text text)"))
        yield server


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    with RedisServer(aclfile=True) as server:
        yield server


@pytest.fixture
def foreign_ca(tmp_path: Path) -> str:
    """The certificate of an authority that issued nothing here."""
    return str(CertificateAuthority().write(tmp_path, "foreign"))


def processes_of(server: Server) -> list[psutil.Process]:
    root = psutil.Process(server.pid)
    return [root, *root.children(recursive=True)]


def listening_at(process: psutil.Process) -> set[str]:
    # A server's workers come and go by themselves.
    with suppress(psutil.NoSuchProcess):
        found = process.net_connections(kind="inet")
        return {connection.laddr.ip for connection in found if connection.status == psutil.CONN_LISTEN}
    return set()


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def redis_client(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, decode_responses=True, socket_timeout=5)


# --- who gets in ---


def test_postgresql_refuses_a_wrong_password(postgresql_server: PostgreSQLServer) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(postgresql_server.dsn(password="wrong"))


def test_postgresql_refuses_a_login_without_password(postgresql_server: PostgreSQLServer) -> None:
    with pytest.raises(psycopg.OperationalError, match="no password supplied"):
        psycopg.connect(host=postgresql_server.host, port=postgresql_server.port, user="postgres", passfile="/dev/null")


@pytest.mark.parametrize("fixture", ["postgresql_server", "tls_postgresql_server"])
def test_postgresql_trusts_nobody(fixture: str, request: pytest.FixtureRequest) -> None:
    server: PostgreSQLServer = request.getfixturevalue(fixture)
    rules = server.execute(sql.SQL("SELECT auth_method, error FROM pg_hba_file_rules"))
    assert rules == [("scram-sha-256", None)]
    assert server.execute(sql.SQL("SHOW unix_socket_directories")) == [("",)]
    assert server.execute(sql.SQL("SHOW listen_addresses")) == [("127.0.0.1",)]


def test_postgresql_stores_scram_verifiers_only(postgresql_database: Database) -> None:
    postgresql_database.server.create_role("verified", "päss'wörd %/@")
    try:
        ((stored,),) = postgresql_database.execute(
            sql.SQL("SELECT rolpassword FROM pg_authid WHERE rolname = 'verified'")
        )
        assert stored.startswith("SCRAM-SHA-256$")
        with psycopg.connect(postgresql_database.dsn("verified", "päss'wörd %/@")) as connection:
            assert connection.info.user == "verified"
    finally:
        postgresql_database.execute(sql.SQL("DROP ROLE verified"))


def test_the_admin_of_a_database_creates_roles_and_schemas_but_is_no_superuser(
    postgresql_database: Database,
) -> None:
    with psycopg.connect(postgresql_database.create_admin("provisioner", "s3cret")) as connection:
        connection.execute("CREATE ROLE tenant LOGIN")
        connection.execute("CREATE SCHEMA tenant_schema")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("ALTER ROLE tenant SUPERUSER")
    postgresql_database.drop()
    postgresql_database.server.execute(sql.SQL("DROP ROLE provisioner"))


def test_each_test_gets_an_empty_database(postgresql_database: Database) -> None:
    tables = postgresql_database.execute(
        sql.SQL("SELECT * FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')")
    )
    assert tables == []


@pytest.mark.parametrize("fixture", ["redis_server", "tls_redis_server"])
def test_redis_demands_a_password_of_the_default_user(fixture: str, request: pytest.FixtureRequest) -> None:
    server: RedisServer = request.getfixturevalue(fixture)
    with redis_client(server.url(password="")) as client, pytest.raises(redis.AuthenticationError):
        client.ping()
    with redis_client(server.url(password="wrong")) as client, pytest.raises(redis.AuthenticationError):
        client.ping()
    # Users that other tests have left, who shared the server before.
    server.reset()
    with server.client() as client:
        (default,) = client.acl_list()
        assert "nopass" not in default


def test_redis_demands_a_password_without_an_acl_file_too() -> None:
    with (
        RedisServer() as server,
        redis_client(server.url(password="")) as client,
        pytest.raises(redis.AuthenticationError),
    ):
        client.ping()


def test_redis_holds_a_user_to_its_keys(redis_url: str, redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.acl_setuser("tenant", enabled=True, passwords=["+pw"], keys=["tenant:*"], commands=["+get"])
    with redis_client(redis_server.url("tenant", "pw")) as client:
        assert client.get("tenant:a") is None
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.get("other:a")


def test_redis_is_empty_for_each_test(redis_url: str) -> None:
    with redis_client(redis_url) as client:
        assert client.dbsize() == 0
        assert client.acl_users() == ["default"]


@pytest.mark.parametrize("fixture", ["postgresql_server", "redis_server"])
def test_no_password_is_visible_in_the_process_list(fixture: str, request: pytest.FixtureRequest) -> None:
    server: PostgreSQLServer | RedisServer = request.getfixturevalue(fixture)
    for process in processes_of(server):
        assert server.password not in " ".join([*process.cmdline(), *process.environ().values()])


@pytest.mark.parametrize("fixture", ["postgresql_server", "redis_server", "tls_postgresql_server", "tls_redis_server"])
def test_servers_listen_on_loopback_only(fixture: str, request: pytest.FixtureRequest) -> None:
    server: Server = request.getfixturevalue(fixture)
    listening = {address for process in processes_of(server) for address in listening_at(process)}
    assert listening == {"127.0.0.1"}


# --- TLS ---


def test_tls_postgresql_lets_in_who_trusts_its_authority(tls_postgresql_server: TLSPostgreSQLServer) -> None:
    with psycopg.connect(tls_postgresql_server.dsn()) as connection:
        assert connection.pgconn.ssl_in_use


def test_tls_postgresql_refuses_plain_connections(tls_postgresql_server: TLSPostgreSQLServer) -> None:
    with pytest.raises(psycopg.OperationalError, match="no encryption"):
        psycopg.connect(tls_postgresql_server.dsn(sslmode="disable"))


def test_tls_postgresql_is_refused_under_an_untrusted_authority(
    tls_postgresql_server: TLSPostgreSQLServer, foreign_ca: str
) -> None:
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        psycopg.connect(tls_postgresql_server.dsn(sslrootcert=foreign_ca))


def test_tls_redis_lets_in_who_trusts_its_authority(tls_redis_server: TLSRedisServer) -> None:
    assert tls_redis_server.url().startswith("rediss://")
    with redis_client(tls_redis_server.url()) as client:
        assert client.ping()


def test_tls_redis_refuses_plain_connections(tls_redis_server: TLSRedisServer) -> None:
    plain = tls_redis_server.url().replace("rediss://", "redis://").partition("?")[0]
    with redis_client(plain) as client, pytest.raises(redis.ConnectionError):
        client.ping()


def test_tls_redis_is_refused_under_an_untrusted_authority(tls_redis_server: TLSRedisServer, foreign_ca: str) -> None:
    url = tls_redis_server.url(ssl_ca_certs=foreign_ca)
    with redis_client(url) as client, pytest.raises(redis.ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
        client.ping()


# --- what survives ---


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_postgresql_keeps_data_over_a_restart(own_postgresql: PostgreSQLServer, mode: str) -> None:
    own_postgresql.execute(sql.SQL("INSERT INTO notes VALUES ({})").format(mode))
    own_postgresql.stop("fast" if mode == "fast" else "immediate")
    assert not own_postgresql.running
    own_postgresql.restart()
    assert (mode,) in own_postgresql.execute(sql.SQL("SELECT text FROM notes"))


def test_postgresql_keeps_acknowledged_data_over_a_kill(own_postgresql: PostgreSQLServer) -> None:
    assert own_postgresql.execute(sql.SQL("SHOW fsync")) == [("on",)]
    own_postgresql.execute(sql.SQL("INSERT INTO notes VALUES ('killed')"))
    own_postgresql.kill()
    own_postgresql.restart()
    assert ("killed",) in own_postgresql.execute(sql.SQL("SELECT text FROM notes"))
    assert "not properly shut down" in own_postgresql.log.read_text()


def test_redis_keeps_data_and_users_over_a_restart(own_redis: RedisServer) -> None:
    with own_redis.client() as client:
        client.set("note", "stopped")
        client.acl_setuser("tenant", enabled=True, passwords=["+pw"], keys=["note"], commands=["+get"])
        client.acl_save()
    own_redis.restart()
    with redis_client(own_redis.url("tenant", "pw")) as client:
        assert client.get("note") == "stopped"


def test_redis_keeps_acknowledged_data_over_a_kill(own_redis: RedisServer) -> None:
    with own_redis.client() as client:
        client.set("note", "killed")
    own_redis.kill()
    own_redis.restart()
    with own_redis.client() as client:
        assert client.get("note") == "killed"


def test_a_directory_given_by_the_caller_is_kept_and_used_again(tmp_path: Path) -> None:
    with RedisServer(tmp_path / "redis") as first, first.client() as client:
        client.set("note", "kept")
    with RedisServer(tmp_path / "redis") as second, second.client() as client:
        assert client.get("note") == "kept"


def test_a_kept_postgresql_directory_has_the_same_password() -> None:
    # Not under tmp_path: the server's user cannot enter pytest's private directory.
    with PostgreSQLServer() as original:
        original.execute(sql.SQL("CREATE TABLE kept ()"))
        original.stop()
        with PostgreSQLServer(original.directory) as again:
            assert again.execute(sql.SQL("SELECT count(*) FROM kept")) == [(0,)]


# --- paused ---


def test_a_paused_postgresql_answers_when_resumed(own_postgresql: PostgreSQLServer) -> None:
    with psycopg.connect(own_postgresql.dsn(), autocommit=True) as connection:
        own_postgresql.pause()
        assert own_postgresql.running
        connection.pgconn.send_query(b"SELECT 1")
        with socket.socket(fileno=socket.dup(connection.pgconn.socket)) as wire:
            wire.settimeout(0.2)
            with pytest.raises(TimeoutError):
                wire.recv(1, socket.MSG_PEEK)
        own_postgresql.resume()
        while (result := connection.pgconn.get_result()) is not None:
            assert result.status == psycopg.pq.ExecStatus.TUPLES_OK


def test_a_paused_redis_times_out_and_can_be_stopped(own_redis: RedisServer) -> None:
    own_redis.pause()
    with (
        redis.Redis.from_url(own_redis.url(), socket_timeout=0.2, retry=None) as client,
        pytest.raises(redis.TimeoutError),
    ):
        client.ping()
    own_redis.stop()
    assert not own_redis.running


# --- what is left ---


@pytest.mark.parametrize("make", [PostgreSQLServer, RedisServer])
@pytest.mark.parametrize("end", ["stop", "kill", "close"])
def test_nothing_is_left_of_a_stopped_server(make: type[PostgreSQLServer | RedisServer], end: str) -> None:
    server = make()
    server.start()
    try:
        processes = processes_of(server)
        getattr(server, end)()
        assert all(gone(process) for process in processes)
    finally:
        server.close()
    assert not server.directory.exists()


async def test_a_server_started_in_a_worker_thread_outlives_the_thread(own_redis: RedisServer) -> None:
    def restart_in_a_loop_of_its_own() -> None:
        asyncio.run(asyncio.to_thread(own_redis.restart))  # its pool ends with the loop

    await asyncio.to_thread(restart_in_a_loop_of_its_own)
    with own_redis.client() as client:
        assert client.ping()


@pytest.mark.parametrize("name", ["postgresql.PostgreSQLServer", "redis.RedisServer"])
def test_no_server_outlives_a_killed_test_run(name: str) -> None:
    module, _, cls = name.partition(".")
    program = (
        f"from tests.servers.{module} import {cls} as Server\n"
        "server = Server(); server.start(); print(server.pid, server.directory, flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        pid, directory = run.stdout.readline().split()
        root = psutil.Process(int(pid))
        processes = [root, *root.children(recursive=True)]
        run.kill()
    wait_for(lambda: all(gone(process) for process in processes), timeout=10, what="server ends with the run")
    shutil.rmtree(directory)


# --- what errors say ---


def test_a_port_lost_to_another_process_is_reported_with_the_log() -> None:
    with RedisServer() as server, socket.socket() as thief:
        server.stop()
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.bind((server.host, server.port))
        thief.listen()
        with pytest.raises(ServerError, match="Address already in use") as caught:
            server.start()
        assert str(server.log) in str(caught.value)
        assert not server.running


def test_a_server_is_not_started_twice(redis_server: RedisServer) -> None:
    with pytest.raises(ServerError, match="runs already"):
        redis_server.start()


def test_a_program_that_cannot_run_is_named(tmp_path: Path) -> None:
    child = Child("absent", ["/nonexistent/program"], log=tmp_path / "log")
    with pytest.raises(ServerError, match="/nonexistent/program"):
        child.wait_until_ready(lambda: False, timeout=10)


def test_a_child_that_ignores_its_signal_is_killed_and_reported(tmp_path: Path) -> None:
    program = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); signal.pause()"
    child = Child("stubborn", [sys.executable, "-c", program], log=tmp_path / "log")
    child.wait_until_ready(lambda: "1" in child.log_tail(), timeout=10)
    with pytest.raises(ServerError, match="SIGTERM and was killed"):
        child.stop(signal.SIGTERM, timeout=0.2)
    assert not child.running


def test_free_ports_lie_outside_the_range_of_outgoing_connections() -> None:
    low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert all(port < low for port in (free_port() for _ in range(20)))


def test_a_condition_that_never_holds_is_named() -> None:
    started = time.monotonic()
    with pytest.raises(ServerError, match=r"the moon: not within 0\.05 s"):
        wait_for(lambda: False, timeout=0.05, what="the moon")
    assert time.monotonic() - started < 5


# --- the summary ---


def test_the_summary_counts_each_test_once_per_server() -> None:
    report = ServerReport()
    assert report.summary() is None
    report.started("control_plane", "Kubernetes", "1.20.2")
    report.started("redis_server", "Valkey", "9.1.2")
    report.used(["control_plane", "tmp_path", "control_plane"])
    report.used(["control_plane", "redis_server"])
    assert report.summary() == "real servers: Kubernetes 1.20.2 (2 tests), Valkey 9.1.2 (1 test)"
