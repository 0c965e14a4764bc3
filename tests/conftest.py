"""Fixtures of real servers, and the line at the end of a run that says which ones the tests used."""

import os
import secrets
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.contract.report import ContractReport
from tests.servers.hosting import Host
from tests.servers.oci import ObjectStorageServer
from tests.servers.opensearch import OpenSearchServer
from tests.servers.oracle import REAL_DSN, EmulatedOracle, OracleStore, RealOracle, installed
from tests.servers.postgresql import Database, PostgreSQLServer, TLSPostgreSQLServer
from tests.servers.processes import ServerUnavailableError
from tests.servers.redis import RedisServer, TLSRedisServer
from tests.servers.redis_cluster import RedisCluster
from tests.servers.redis_group import RedisGroup
from tests.servers.redis_sentinel import RedisSentinels
from tests.servers.report import ServerReport
from tests.servers.server import Server
from tests.servers.tls import CertificateAuthority

S = TypeVar("S", bound=Server | RedisGroup)

_REPORT = pytest.StashKey[ServerReport]()
_CONTRACT = pytest.StashKey[ContractReport]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_REPORT] = ServerReport()
    config.stash[_CONTRACT] = ContractReport()


def pytest_sessionfinish(session: pytest.Session) -> None:
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["servers"] = session.config.stash[_REPORT].counts()
        output["contract"] = dict(session.config.stash[_CONTRACT].passed)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Add what a process reports that shared the work."""
    output = getattr(node, "workeroutput", {})
    node.config.stash[_REPORT].add(output.get("servers", []))
    node.config.stash[_CONTRACT].add(output.get("contract", {}))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call" and report.passed:
        item.config.stash[_CONTRACT].count(item)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    contract = list(config.stash[_CONTRACT].lines())
    if contract:
        terminalreporter.section("tests of the contract that passed, by checkpointer")
        for line in contract:
            terminalreporter.write_line(line)
    summary = config.stash[_REPORT].summary()
    if summary is not None:
        terminalreporter.section("real servers")
        terminalreporter.write_line(summary)


@pytest.fixture(scope="session")
def server_report(pytestconfig: pytest.Config) -> ServerReport:
    """Where a session fixture registers the server that it started."""
    return pytestconfig.stash[_REPORT]


@pytest.fixture(autouse=True)
def _count_servers(request: pytest.FixtureRequest, server_report: ServerReport) -> Iterator[None]:
    yield
    # After the test, so that fixtures asked for by name at run time count as well.
    server_report.used(request.fixturenames)


@contextmanager
def _session_server(
    make: Callable[[Path], S], fixture: str, report: ServerReport, logs: pytest.TempPathFactory
) -> Iterator[S]:
    """Run a server for the session; its log stays in pytest's own directory, which outlives the run."""
    try:
        server = make(logs.mktemp("logs") / f"{fixture}.log")
    except ServerUnavailableError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    with server:
        report.started(fixture, server.product, server.version)
        yield server


@pytest.fixture(scope="session")
def certificate_authority() -> CertificateAuthority:
    """The authority behind both TLS servers."""
    return CertificateAuthority()


@pytest.fixture(scope="session")
def postgresql_server(
    server_report: ServerReport, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PostgreSQLServer]:
    """PostgreSQL 18, crash-safe; a test that kills or pauses it leaves it running."""
    with _session_server(
        lambda log: PostgreSQLServer(log=log), "postgresql_server", server_report, tmp_path_factory
    ) as server:
        yield server


@pytest.fixture(scope="session")
def tls_postgresql_server(
    certificate_authority: CertificateAuthority,
    server_report: ServerReport,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[TLSPostgreSQLServer]:
    """Debian's PostgreSQL, TLS only."""
    with _session_server(
        lambda log: TLSPostgreSQLServer(certificate_authority, log=log),
        "tls_postgresql_server",
        server_report,
        tmp_path_factory,
    ) as server:
        yield server


@pytest.fixture(scope="session")
def redis_server(server_report: ServerReport, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Valkey with an append-only file and an ACL file."""
    with _session_server(
        lambda log: RedisServer(log=log, aclfile=True), "redis_server", server_report, tmp_path_factory
    ) as server:
        yield server


@pytest.fixture(scope="session")
def tls_redis_server(
    certificate_authority: CertificateAuthority,
    server_report: ServerReport,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[TLSRedisServer]:
    """Debian's Redis, TLS only, with an append-only file and an ACL file."""
    with _session_server(
        lambda log: TLSRedisServer(certificate_authority, log=log, aclfile=True),
        "tls_redis_server",
        server_report,
        tmp_path_factory,
    ) as server:
        yield server


@pytest.fixture(scope="session")
def redis_cluster(server_report: ServerReport, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    """A Valkey Cluster of three primaries."""
    with _session_server(lambda _: RedisCluster(), "redis_cluster", server_report, tmp_path_factory) as group:
        yield group


@pytest.fixture(scope="session")
def redis_sentinels(server_report: ServerReport, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisSentinels]:
    """A Valkey primary and its replica below three Sentinels."""
    with _session_server(lambda _: RedisSentinels(), "redis_sentinels", server_report, tmp_path_factory) as group:
        yield group


@pytest.fixture(scope="session")
def opensearch_server(
    server_report: ServerReport, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OpenSearchServer]:
    """osmem behind a front that checks logins and shows writes to searches after a refresh only."""
    with _session_server(
        lambda log: OpenSearchServer(log=log), "opensearch_server", server_report, tmp_path_factory
    ) as server:
        yield server


@pytest.fixture(scope="session")
def tls_opensearch_server(
    certificate_authority: CertificateAuthority,
    server_report: ServerReport,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[OpenSearchServer]:
    """The same, TLS only."""
    with _session_server(
        lambda log: OpenSearchServer(certificate_authority, log=log),
        "tls_opensearch_server",
        server_report,
        tmp_path_factory,
    ) as server:
        yield server


@pytest.fixture(scope="session")
def oracle_database(
    request: pytest.FixtureRequest, server_report: ServerReport
) -> Iterator[EmulatedOracle | RealOracle]:
    """The Oracle database that the environment names, or else the emulator."""
    oracle: EmulatedOracle | RealOracle
    if REAL_DSN in os.environ:
        oracle = RealOracle()
        server_report.started("oracle_database", "Oracle", oracle.version)
    else:
        server = request.getfixturevalue("postgresql_server")
        oracle = EmulatedOracle(server)
        server_report.started("oracle_database", "Oracle emulated on PostgreSQL", server.version)
    yield oracle
    oracle.close()


@pytest.fixture
def oracle_store(oracle_database: EmulatedOracle | RealOracle) -> Iterator[OracleStore]:
    """An empty store on Oracle; this process and its children reach it through the driver."""
    with installed(oracle_database), oracle_database.store() as store:
        yield store


@pytest.fixture(scope="session")
def oci_server(server_report: ServerReport, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStorageServer]:
    """The emulator of OCI Object Storage."""
    with _session_server(
        lambda log: ObjectStorageServer(log=log), "oci_server", server_report, tmp_path_factory
    ) as server:
        yield server


@pytest.fixture
def oci_bucket(oci_server: ObjectStorageServer) -> str:
    """The name of a new bucket; no faults are set, and requests are counted from zero."""
    name = f"test-{secrets.token_hex(6)}"
    oci_server.create_bucket(name)
    oci_server.admin("DELETE", "faults")
    oci_server.admin("DELETE", "requests")
    return name


@pytest.fixture
def postgresql_database(postgresql_server: PostgreSQLServer) -> Iterator[Database]:
    """A new database on PostgreSQL 18, dropped after the test."""
    database = postgresql_server.create_database(f"test_{secrets.token_hex(6)}")
    yield database
    database.drop()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The URL of an empty Valkey, with all rights; no users but the default one exist."""
    redis_server.reset()
    return redis_server.url()


@pytest.fixture
def redis_prefix() -> str:
    """A key prefix that no other test uses."""
    return f"test-{secrets.token_hex(6)}:"


@pytest.fixture(scope="session")
def http_host() -> Iterator[Host]:
    """The checkpoint server in this process; each test has it serve a store of its own."""
    with Host().running() as host:
        yield host


@pytest.fixture
def opensearch_index() -> str:
    """The name of an index that no other test uses."""
    return f"test-{secrets.token_hex(6)}"
