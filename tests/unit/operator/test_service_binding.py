"""Bindings as the Service Binding specification 1.1 wants them (https://servicebinding.io/spec/core/1.1.0).

Written from the text of the specification: "Provisioned Service", "Well-known Secret Entries".
"""

import re
from typing import Final
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locus_memory.connection import (
    Connection,
    FileConnection,
    HostAddress,
    HTTPConnection,
    MemoryConnection,
    OCIBucketConnection,
    OpenSearchConnection,
    OracleConnection,
    PostgreSQLConnection,
    RedisConnection,
)
from locus_memory.urls import parse_url
from locus_operator.binding import binding_of

# Characters that mean something in a URI, and one outside of ASCII.
AWKWARD: Final = "a:b@c/d?e#f%g h&i=j+ü"
LOGIN: Final = {"username": f"user-{AWKWARD}", "password": f"password-{AWKWARD}"}

CONNECTIONS: Final[tuple[Connection, ...]] = (
    PostgreSQLConnection(host="db.example.com", database="agents", ssl_mode="verify-full", ca="PEM", **LOGIN),
    PostgreSQLConnection(host="2001:db8::1", port=6432, database="a b", schema_name="locus_a", **LOGIN),
    RedisConnection(addresses=(HostAddress(host="redis", port=6380),), tls=True, database=3, ca="PEM", **LOGIN),
    RedisConnection(
        mode="sentinel",
        addresses=(HostAddress(host="s1", port=26379), HostAddress(host="s2", port=26380)),
        master_name="main",
        **LOGIN,
    ),
    RedisConnection(mode="cluster", addresses=(HostAddress(host="2001:db8::1", port=7000),), **LOGIN),
    OracleConnection(dsn="db.example.com:1521/agents", **LOGIN),
    OpenSearchConnection(hosts=("https://search.example.com", "https://other:9200"), index_name="locus_a", **LOGIN),
    OCIBucketConnection(bucket="agents", namespace="tenancy", prefix="a/b/", region="eu-frankfurt-1"),
    HTTPConnection(base_url="https://memory.example.com/v1"),
    FileConnection(directory="/var/lib/locus/a b"),
    MemoryConnection(),
)
SECRET_KEY: Final = re.compile(r"[-._a-zA-Z0-9]+")


@pytest.fixture(params=CONNECTIONS, ids=lambda each: f"{each.type}-{getattr(each, 'mode', '')}")
def connection(request: pytest.FixtureRequest) -> Connection:
    found: Connection = request.param
    return found


def test_the_secret_has_the_type_of_its_binding(connection: Connection) -> None:
    """`type` is required, and the Secret's own type should be `servicebinding.io/{type}`."""
    binding = binding_of(connection)
    assert binding.secret_type == f"servicebinding.io/{binding.data['type']}"
    assert re.fullmatch(r"[a-z0-9\-.]{1,253}", binding.data["type"])
    assert binding.data["provider"] == "locus-memory"


def test_entries_are_valid_keys_of_a_secret_and_hold_text(connection: Connection) -> None:
    data = binding_of(connection, {"tnsnames.ora": "alias = (…)"}).data
    assert all(SECRET_KEY.fullmatch(key) for key in data)
    assert all(isinstance(value, str) for value in data.values())
    assert data["tnsnames.ora"] == "alias = (…)"


def test_a_file_cannot_take_the_place_of_an_entry(connection: Connection) -> None:
    data = binding_of(connection, {"type": "other", "connection.json": "{}"}).data
    assert data == binding_of(connection).data


def test_the_well_known_entries_say_what_the_document_says(connection: Connection) -> None:
    data, document = binding_of(connection).data, connection.document()
    for entry in ("username", "password", "database"):
        assert data.get(entry) == (str(document[entry]) if entry in document else None)
    assert data.get("certificates") == document.get("ca")


def test_host_and_port_are_those_of_the_uri(connection: Connection) -> None:
    """`host` is a DNS name or an IP address without brackets, `port` a number."""
    data = binding_of(connection).data
    if "host" not in data:
        assert connection.type in ("oracle", "oci-bucket", "file", "memory")
        return
    first = data["uri"].rpartition("@")[2].partition("/")[0].split(",")[0] if "@" in data["uri"] else None
    parts = urlsplit(f"//{first}") if first else urlsplit(data["uri"])
    assert parts.hostname == data["host"]
    assert not data["host"].startswith("[")
    assert parts.port in (int(data["port"]), None)
    assert 1 <= int(data["port"]) <= 65_535


def test_the_login_in_the_uri_is_percent_encoded(connection: Connection) -> None:
    data = binding_of(connection).data
    if "username" not in data:
        assert "password" not in data
        return
    login = data["uri"].partition("://")[2].rpartition("@")[0]
    assert re.fullmatch(r"[-A-Za-z0-9._~%]+:[-A-Za-z0-9._~%]+", login)
    assert [unquote(part) for part in login.split(":")] == [data["username"], data["password"]]


def test_the_uri_leads_to_the_same_place(connection: Connection) -> None:
    """A program that has only the URI reaches the same place as one that reads `connection.json`."""
    found, document = parse_url(binding_of(connection).data["uri"]).document(), connection.document()
    # libpq's URIs name no schema: the login's own search_path leads to it.
    not_in_a_uri = {"ca"} | {"opensearch": {"hosts"}, "postgresql": {"schema"}}.get(connection.type, set())
    assert {key: value for key, value in found.items() if key not in not_in_a_uri} == {
        key: value for key, value in document.items() if key not in not_in_a_uri
    }


TEXT: Final = st.text(st.characters(codec="utf-8"), min_size=1)


@given(TEXT, TEXT)
def test_any_login_survives_the_uri(username: str, password: str) -> None:
    connection = PostgreSQLConnection(username=username, password=password)
    found = parse_url(binding_of(connection).data["uri"])
    assert isinstance(found, PostgreSQLConnection)
    assert found.password is not None
    assert (found.username, found.password.get_secret_value()) == (username, password)
