"""A store on each backend, as a connection URL."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from locus_memory.backends import FileCheckpointer
from locus_memory.server.tokens import Tokens
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
