"""Connection URLs."""

from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from locus_memory.connection import PostgreSQLConnection, RedisConnection
from locus_memory.errors import BindingError
from locus_memory.urls import parse_url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "postgresql://u:p%40ss@db:5433/d?schema=locus&sslmode=verify-full",
            {"type": "postgresql", "host": "db", "port": 5433, "database": "d", "username": "u", "password": "p@ss"}
            | {"schema": "locus", "ssl_mode": "verify-full"},
        ),
        ("postgres://db", {"type": "postgresql", "host": "db", "port": 5432, "schema": "public"}),
        ("postgresql://[::1]:5433/d", {"host": "::1", "port": 5433}),
        ("redis://", {"type": "redis", "addresses": [{"host": "localhost", "port": 6379}], "tls": False}),
        (
            "rediss://:p@h:6380/3?key_prefix=a:&ttl_seconds=60",
            {"addresses": [{"host": "h", "port": 6380}], "tls": True, "database": 3, "password": "p"}
            | {"key_prefix": "a:", "ttl_seconds": 60},
        ),
        (
            "redis+sentinel://u:p@a,b:1/0?master_name=m",
            {"mode": "sentinel", "master_name": "m", "username": "u"}
            | {"addresses": [{"host": "a", "port": 26379}, {"host": "b", "port": 1}]},
        ),
        ("redis+cluster://[::1]:7000", {"mode": "cluster", "addresses": [{"host": "::1", "port": 7000}]}),
        ("oracle://u:p@db_low?wallet_location=/w", {"type": "oracle", "dsn": "db_low", "wallet_location": "/w"}),
        (
            "oracle://u:p%40@h:1521/svc.example?owner=agents&table_name=chat&ssl_server_dn_match=false",
            {"dsn": "h:1521/svc.example", "username": "u", "password": "p@", "owner": "agents", "table_name": "chat"}
            | {"ssl_server_dn_match": False},
        ),
        ("oracle+tcps://u:p@h:2484/svc", {"dsn": "tcps://h:2484/svc"}),
        ("oci://b@n/p/q?auth=workload_identity", {"bucket": "b", "namespace": "n", "prefix": "p/q"}),
        ("opensearch+https://u:p@h:9200/i", {"hosts": ("https://h:9200",), "index_name": "i", "password": "p"}),
        ("https://h/base", {"type": "http", "base_url": "https://h/base"}),
        (
            "https://u:p%40@h:1/base?timeout_seconds=3",
            {"base_url": "https://h:1/base", "headers": {"Authorization": "Basic dTpwQA=="}, "timeout_seconds": 3.0},
        ),
        ("http://:token@h", {"base_url": "http://h", "headers": {"Authorization": "Bearer token"}}),
        ("file:///var/lib/threads%20x", {"type": "file", "directory": "/var/lib/threads x"}),
        ("memory:", {"type": "memory"}),
    ],
)
def test_a_url_is_another_spelling_of_the_document(url: str, expected: dict[str, Any]) -> None:
    document = parse_url(url).document()
    found = {key: document[key] for key in expected}
    if "hosts" in found:
        found["hosts"] = tuple(found["hosts"])
    assert found == expected


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.text(st.characters(exclude_categories=["Cs"])))
def test_any_login_can_be_percent_encoded(user: str, password: str) -> None:
    login = f"{quote(user, safe='')}:{quote(password, safe='')}"
    for url in (f"postgresql://{login}@h:1/d", f"redis://{login}@h:1/0"):
        connection = parse_url(url)
        assert isinstance(connection, PostgreSQLConnection | RedisConnection)
        assert connection.username == user
        assert connection.password == (SecretStr(password) if password else None)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "unknown scheme ''"),
        ("mysql://h", "unknown scheme 'mysql'"),
        ("postgresql://h/d?no_such=1", "unknown parameter 'no_such'"),
        ("postgresql://h/d?type=redis", "unknown parameter 'type'"),
        ("postgresql://h/d?host=other", "unknown parameter 'host'"),
        ("postgresql://h/d?sslmode=sometimes", "ssl_mode"),
        ("redis://h/zero", "database"),
        ("redis://h:1/0?ttl_seconds=-1", "ttl_seconds"),
        ("file://host/directory", "three slashes"),
        ("file://", "directory"),
        ("oci://b", "bucket"),
    ],
)
def test_a_wrong_url_is_an_error_that_names_what_is_wrong(url: str, message: str) -> None:
    with pytest.raises(BindingError) as caught:
        parse_url(url)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:hunter2@h:port/d",
        "postgresql://u:hunter2@[h/d",
        "postgresql://u:hunter2/x@h:1/d",
        "redis://u:hunter2@h:99999/0",
        "redis://u:hunter2@h:1/0?nope=1",
        "other://u:hunter2@h",
        "postgresql://u:hunter2@h/d?sslmode=hunter2",
    ],
)
def test_no_error_shows_the_password(url: str) -> None:
    with pytest.raises(BindingError) as caught:
        parse_url(url)
    shown = f"{caught.value} {caught.value!r} {caught.value.__cause__}"
    assert "hunter2" not in shown
