"""The well-known entries of a binding, as the Service Binding specification names them (https://servicebinding.io).

Programs that do not use `locus_memory` read these; it reads `connection.json` itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, urlencode, urlsplit

from locus_memory.binding import URI_FILE
from locus_memory.connection import (
    Connection,
    FileConnection,
    HTTPConnection,
    MemoryConnection,
    OCIBucketConnection,
    OpenSearchConnection,
    OracleConnection,
    PostgreSQLConnection,
    RedisConnection,
)

_HTTP_PORTS: Final = {"http": 80, "https": 443}
_OPENSEARCH_PORTS: Final = {"http": 9200, "https": 443}
"""As `locus_memory.backends.opensearch` takes them."""


def well_known_entries(connection: Connection) -> dict[str, str | None]:
    """Return `host`, `port`, `username`, `password`, `database`, `uri` and `certificates`, where there are such.

    User names, passwords and path parts are percent-encoded in the URI. `locus_memory.urls.parse_url` reads it, too.
    """
    password = getattr(connection, "password", None)
    entries = {
        "username": getattr(connection, "username", None),
        "password": password.get_secret_value() if password else None,
        "certificates": getattr(connection, "ca", None),
    }
    login = _login(entries["username"], entries["password"])
    return entries | _place(connection, login)


def _place(connection: Connection, login: str) -> dict[str, str | None]:
    match connection:
        case PostgreSQLConnection(host=host, port=port, database=database):
            query = f"?sslmode={connection.ssl_mode}"
            uri = f"postgresql://{login}{_authority(host, port)}/{_quoted(database)}{query}"
            return {"host": host, "port": str(port), "database": database, URI_FILE: uri}
        case RedisConnection():
            return _redis(connection, login)
        case OracleConnection():
            return {URI_FILE: f"oracle://{login}{quote(connection.dsn, safe='/:')}"}
        case OCIBucketConnection():
            return {URI_FILE: _bucket_uri(connection)}
        case OpenSearchConnection(hosts=hosts, index_name=index):
            parts = urlsplit(hosts[0])
            uri = f"opensearch+{parts.scheme}://{login}{parts.netloc}/{_quoted(index)}"
            return {**_of_url(hosts[0], _OPENSEARCH_PORTS), URI_FILE: uri}
        case HTTPConnection(base_url=url):
            return {**_of_url(url, _HTTP_PORTS), URI_FILE: url}
        case FileConnection(directory=directory):
            return {URI_FILE: f"file://{quote(directory)}"}
        case MemoryConnection():
            return {URI_FILE: "memory:"}


def _redis(connection: RedisConnection, login: str) -> dict[str, str | None]:
    scheme = "rediss" if connection.tls else "redis"
    if connection.mode != "standalone":
        scheme += f"+{connection.mode}"
    first, database = connection.addresses[0], str(connection.database)
    addresses = ",".join(map(str, connection.addresses))
    master = f"?{urlencode({'master_name': connection.master_name})}" if connection.master_name else ""
    uri = f"{scheme}://{login}{addresses}/{database}{master}"
    return {"host": first.host, "port": str(first.port), "database": database, URI_FILE: uri}


def _bucket_uri(connection: OCIBucketConnection) -> str:
    options = {"region": connection.region, "auth": connection.auth, "service_endpoint": connection.service_endpoint}
    query = urlencode({name: value for name, value in options.items() if value})
    return f"oci://{_quoted(connection.bucket)}@{connection.namespace}/{quote(connection.prefix)}?{query}"


def _of_url(url: str, default_ports: Mapping[str, int]) -> dict[str, str | None]:
    parts = urlsplit(url)
    return {"host": parts.hostname, "port": str(parts.port or default_ports[parts.scheme])}


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _login(username: str | None, password: str | None) -> str:
    if username is None and password is None:
        return ""
    return f"{_quoted(username or '')}:{_quoted(password or '')}@"


def _quoted(text: str) -> str:
    return quote(text, safe="")
