"""Connection URLs: a second spelling of the binding document, for agents outside Kubernetes.

    postgresql://user:password@host:5432/database?schema=locus&sslmode=verify-full
    redis://user:password@host:6379/0?key_prefix=locus:&ttl_seconds=3600        (rediss:// for TLS)
    redis+sentinel://user:password@host1:26379,host2:26379/0?master_name=mymaster
    redis+cluster://user:password@host1:6379,host2:6379
    oracle://user:password@host:1521/service?table_name=locus_checkpoints&owner=agents
    oracle://user:password@alias?wallet_location=/wallet                        (oracle+tcps:// for TLS without one)
    oci://bucket@namespace/prefix?region=eu-frankfurt-1&auth=workload_identity
    opensearch+https://user:password@host:9200/index
    https://user:password@host/base          (a bearer token where there is no user: https://:token@host/base)
    file:///directory
    memory:

User names, passwords and path parts are percent-encoded.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from pydantic import BaseModel, ValidationError

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
    describe,
)
from locus_memory.errors import BindingError

# Names that differ between the documents and the URLs that people know.
_ALIASES = {"sslmode": "ssl_mode"}


def parse_url(url: str) -> Connection:
    """Turn a connection URL into a binding document.

    Raises:
        BindingError: An unknown scheme or parameter, or an invalid value; the message names it and shows no
            password.
    """
    scheme = url.partition(":")[0].lower()
    parser = _PARSERS.get(scheme)
    if parser is None:
        raise BindingError(f"connection URL: unknown scheme {scheme!r}; write one of {', '.join(_PARSERS)}")
    try:
        parts = urlsplit(url)
        model, fields = parser(parts)
        return _build(model, fields, parts)
    except ValidationError as error:
        raise BindingError(f"connection URL of scheme {scheme!r}: {describe(error)}") from None
    except ValueError:
        # urllib quotes what it could not parse, which may be the password.
        raise BindingError(
            f"connection URL of scheme {scheme!r} cannot be parsed: percent-encode special characters "
            "in user name and password, and write the port as a number"
        ) from None


_Parsed = tuple[type[BaseModel], dict[str, Any]]


def _build(model: type[BaseModel], fields: dict[str, Any], parts: SplitResult) -> Connection:
    settable = {field.alias or name for name, field in model.model_fields.items()} - {
        "type",
        "version",
        *fields,
    }
    for key, value in parse_qsl(parts.query, keep_blank_values=True):
        name = _ALIASES.get(key, key)
        if name not in settable:
            raise BindingError(
                f"connection URL of scheme {parts.scheme!r}: unknown parameter {key!r}; "
                f"write one of {', '.join(sorted(settable))}"
            )
        fields[name] = value
    connection: Connection = model.model_validate({key: value for key, value in fields.items() if value is not None})  # type: ignore[assignment]  # each parser returns a member of the union
    return connection


def _login(parts: SplitResult) -> dict[str, Any]:
    return {
        "username": unquote(parts.username) if parts.username else None,
        "password": unquote(parts.password) if parts.password else None,
    }


def _postgresql(parts: SplitResult) -> _Parsed:
    return PostgreSQLConnection, {
        **_login(parts),
        "host": parts.hostname,
        "port": parts.port,
        "database": unquote(parts.path.lstrip("/")) or None,
    }


def _redis(parts: SplitResult) -> _Parsed:
    scheme, _, mode = parts.scheme.partition("+")
    default_port = 26379 if mode == "sentinel" else 6379
    hosts = parts.netloc.rpartition("@")[2] or "localhost"
    addresses = []
    for host in hosts.split(","):
        address = urlsplit(f"//{host}")
        addresses.append({"host": address.hostname or "localhost", "port": address.port or default_port})
    userinfo = urlsplit(f"//{parts.netloc.rpartition('@')[0]}@host")
    return RedisConnection, {
        **_login(userinfo),
        "mode": mode or "standalone",
        "addresses": addresses,
        "tls": scheme == "rediss",
        "database": parts.path.strip("/") or None,
    }


def _oracle(parts: SplitResult) -> _Parsed:
    address = parts.netloc.rpartition("@")[2] + unquote(parts.path)
    protocol = parts.scheme.partition("+")[2]
    return OracleConnection, {**_login(parts), "dsn": f"{protocol}://{address}" if protocol else address}


def _oci(parts: SplitResult) -> _Parsed:
    return OCIBucketConnection, {
        "bucket": unquote(parts.username or "") or None,
        "namespace": parts.hostname,
        "prefix": unquote(parts.path.lstrip("/")),
    }


def _opensearch(parts: SplitResult) -> _Parsed:
    protocol = parts.scheme.partition("+")[2]
    return OpenSearchConnection, {
        **_login(parts),
        "hosts": [f"{protocol}://{parts.netloc.rpartition('@')[2]}"],
        "index_name": unquote(parts.path.strip("/")) or None,
    }


def _http(parts: SplitResult) -> _Parsed:
    login, _, host = parts.netloc.rpartition("@")
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    headers = {}
    if login:
        basic = base64.b64encode(f"{user}:{password}".encode()).decode()
        headers["Authorization"] = f"Basic {basic}" if user else f"Bearer {password}"
    # The URL is shown in messages, so the login leaves it.
    return HTTPConnection, {
        "base_url": parts._replace(netloc=host, query="", fragment="").geturl(),
        "headers": headers,
    }


def _file(parts: SplitResult) -> _Parsed:
    if parts.netloc not in ("", "localhost"):
        raise BindingError("connection URL of scheme 'file': write three slashes, as in file:///var/lib/threads")
    return FileConnection, {"directory": unquote(parts.path)}


def _memory(parts: SplitResult) -> _Parsed:
    return MemoryConnection, {}


_PARSERS: dict[str, Callable[[SplitResult], _Parsed]] = {
    "postgresql": _postgresql,
    "postgres": _postgresql,
    "redis": _redis,
    "rediss": _redis,
    "redis+sentinel": _redis,
    "rediss+sentinel": _redis,
    "redis+cluster": _redis,
    "rediss+cluster": _redis,
    "oracle": _oracle,
    "oracle+tcps": _oracle,
    "oci": _oci,
    "opensearch+https": _opensearch,
    "opensearch+http": _opensearch,
    "https": _http,
    "http": _http,
    "file": _file,
    "memory": _memory,
}
