"""A store on each backend, as a connection URL; and how many tests of the contract each checkpointer passed."""

import secrets
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from locus_memory.backends import FileCheckpointer
from locus_memory.server.tokens import Tokens
from locus_memory.testing import CheckpointerContract, StorageBackendContract
from locus_memory.testing.base import CAPABILITIES
from tests.servers.hosting import TOKEN, Host
from tests.servers.oci import ObjectStorageServer
from tests.servers.opensearch import OpenSearchServer
from tests.servers.oracle import OracleStore
from tests.servers.postgresql import Database
from tests.servers.redis import RedisServer
from tests.servers.redis_group import RedisGroup


@pytest.fixture(
    params=[
        "file",
        "postgresql",
        "redis",
        "redis_sentinels",
        "redis_cluster",
        "opensearch",
        "oci_bucket",
        "oracle",
        "http",
    ]
)
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty store, on each backend that outlives a process."""
    if request.param == "file":
        yield f"file://{tmp_path}/threads"
    elif request.param == "postgresql":
        database: Database = request.getfixturevalue("postgresql_database")
        yield f"{database.dsn()}?schema=locus"
    elif request.param == "oracle":
        store: OracleStore = request.getfixturevalue("oracle_store")
        yield store.url()
    elif request.param == "http":
        host: Host = request.getfixturevalue("http_host")
        with host.serving(FileCheckpointer(tmp_path / "served"), Tokens(text=TOKEN)) as url:
            yield url.replace("//", f"//:{TOKEN}@")
    elif request.param in ("redis_sentinels", "redis_cluster"):
        group: RedisGroup = request.getfixturevalue(request.param)
        yield group.url(key_prefix=f"test-{secrets.token_hex(6)}:")
    elif request.param == "opensearch":
        search: OpenSearchServer = request.getfixturevalue("opensearch_server")
        yield search.url(request.getfixturevalue("opensearch_index"))
    elif request.param == "oci_bucket":
        storage: ObjectStorageServer = request.getfixturevalue("oci_server")
        yield storage.url(request.getfixturevalue("oci_bucket"), "prod/")
    else:
        server: RedisServer = request.getfixturevalue("redis_server")
        yield f"{server.url()}?key_prefix=test-{secrets.token_hex(6)}:"


_PASSED = pytest.StashKey[Counter[str]]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call" and report.passed and (suite := _suite(item)):
        item.config.stash.setdefault(_PASSED, Counter())[_label(suite)] += 1
    return report


def _suite(item: pytest.Item) -> type[CheckpointerContract] | None:
    """Return the suite of a test of the contract; what a module adds for its own backend is not counted."""
    owner = getattr(item, "cls", None)
    inherited = hasattr(StorageBackendContract, getattr(item, "originalname", ""))
    return owner if inherited and isinstance(owner, type) and issubclass(owner, CheckpointerContract) else None


def _label(suite: type[CheckpointerContract]) -> str:
    lacking = [name for name in CAPABILITIES if suite.capabilities and not getattr(suite.capabilities, name)]
    return suite.__name__.removeprefix("Test") + (f", without {', '.join(lacking)}" if lacking else "")


def pytest_sessionfinish(session: pytest.Session) -> None:
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        passed: Counter[str] = session.config.stash.setdefault(_PASSED, Counter())
        output["contract"] = dict(passed)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Add what a process reports that shared the work."""
    passed = getattr(node, "workeroutput", {}).get("contract", {})
    node.config.stash.setdefault(_PASSED, Counter()).update(passed)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    passed = config.stash.get(_PASSED, None)
    if passed:
        terminalreporter.section("tests of the contract that passed, by checkpointer")
        for label, count in sorted(passed.items()):
            terminalreporter.write_line(f"{count:5} {label}")
