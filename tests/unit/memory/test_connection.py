"""The binding document."""

import json
from typing import Any

import pytest

from locus_memory.connection import FileConnection, PostgreSQLConnection, RedisConnection, parse_document
from locus_memory.errors import BindingError

DOCUMENTS: list[dict[str, Any]] = [
    {"type": "postgresql", "host": "db", "database": "d", "schema": "s", "password": "secret", "ssl_mode": "require"},
    {"type": "redis", "addresses": [{"host": "h", "port": 1}], "password": "secret", "ttl_seconds": 5},
    {"type": "oracle", "dsn": "db_low", "wallet_password": "secret"},
    {"type": "oci-bucket", "bucket": "b", "namespace": "n", "private_key": "secret"},
    {"type": "opensearch", "hosts": ["https://h:9200"], "password": "secret"},
    {"type": "http", "base_url": "https://h", "headers": {"Authorization": "secret"}},
    {"type": "file", "directory": "/d"},
    {"type": "memory"},
]


@pytest.mark.parametrize("fields", DOCUMENTS, ids=lambda fields: fields["type"])
def test_a_document_comes_back_whole_and_shows_no_secret(fields: dict[str, Any]) -> None:
    document = {"version": 1, "store": "team/support", "tables": "provisioned", **fields}
    connection = parse_document(json.dumps(document))
    assert "secret" not in f"{connection!r} {connection}"
    again = connection.document()
    assert document.items() <= again.items()
    assert parse_document(json.dumps(again)) == connection


def test_unknown_fields_are_kept() -> None:
    connection = parse_document('{"version": 1, "type": "memory", "future": {"a": 1}}')
    assert connection.document()["future"] == {"a": 1}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("{", "is no JSON"),
        ("[]", "must hold a JSON object"),
        ('{"type": "memory"}', "version None"),
        ('{"version": 2, "type": "memory"}', "install a newer locus-memory"),
        ('{"version": "1", "type": "memory"}', "version '1'"),
        ('{"version": 1}', "type"),
        ('{"version": 1, "type": "other"}', "other"),
        ('{"version": 1, "type": "oracle"}', "oracle.dsn"),
        ('{"version": 1, "type": "redis", "addresses": []}', "redis.addresses"),
        ('{"version": 1, "type": "redis", "ttl_seconds": 0}', "redis.ttl_seconds"),
        ('{"version": 1, "type": "postgresql", "port": 70000}', "postgresql.port"),
        ('{"version": 1, "type": "file", "directory": ""}', "file.directory"),
    ],
)
def test_an_invalid_document_is_an_error_that_names_the_field(document: str, message: str) -> None:
    with pytest.raises(BindingError) as caught:
        parse_document(document)
    assert message in str(caught.value)


def test_an_error_shows_no_value_since_it_may_be_a_secret() -> None:
    with pytest.raises(BindingError) as caught:
        parse_document('{"version": 1, "type": "postgresql", "password": {"hunter2": 1}, "port": "hunter2"}')
    assert "postgresql.port" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_connections_are_compared_by_value_and_frozen() -> None:
    assert PostgreSQLConnection(host="a") == PostgreSQLConnection(host="a") != PostgreSQLConnection(host="b")
    with pytest.raises(ValueError, match="frozen"):
        FileConnection(directory="/a").directory = "/b"  # type: ignore[misc]
    assert RedisConnection().addresses[0].host == "localhost"
