"""OpenSearch: osmem-server, behind a front that makes it behave as a real server where it matters."""

import importlib.util
import ssl
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import psutil

from tests.servers.processes import ServerUnavailableError
from tests.servers.server import Server
from tests.servers.tls import CertificateAuthority

REPOSITORY = Path(__file__).parents[2]


class OsmemServer(Server):
    """osmem-server from its wheel: in memory, no logins. Use `OpenSearchServer`, which stands in front of it."""

    product = "osmem"

    def __init__(self, *, log: Path | None = None) -> None:
        spec = importlib.util.find_spec("osmem_server")
        if spec is None or spec.origin is None:
            raise ServerUnavailableError("OpenSearch: the wheel osmem-server is not installed")
        self._binary = Path(spec.origin).parent / "bin" / "osmem-server"
        super().__init__(log=log)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{self.host}:{self.port}"

    @property
    def version(self) -> str:
        """The version of OpenSearch that it says it is."""
        return str(httpx.get(self.url).json()["version"]["number"])

    def _prepare(self) -> None:
        """Nothing: it keeps nothing on disk."""

    def _command(self) -> list[str]:
        return [str(self._binary), "-addr", f"{self.host}:{self.port}", "-no-stdin-watch", "-no-ja"]

    def _is_ready(self) -> bool:
        return _listens(self.pid) and bool(self.version)


class OpenSearchServer(Server):
    """The front, and the osmem-server behind it.

    ``kill``, ``stop``, ``pause`` and ``restart`` are the front's: connections die in the middle of requests, before or
    after these took effect. The documents survive, as osmem has them in memory; its own death is not tried.

    Args:
        authority: Issues the certificate of a front with TLS; None for plain HTTP.
        directory: For the password and the certificate; None for a temporary one.
        log: The log file; None for one inside the directory.
    """

    product = "osmem as OpenSearch"

    def __init__(
        self,
        authority: CertificateAuthority | None = None,
        directory: Path | None = None,
        *,
        log: Path | None = None,
    ) -> None:
        self._store = OsmemServer(log=log)
        super().__init__(directory, log=log)
        self.authority = authority

    @property
    def address(self) -> str:
        """The URL of the front, without a login."""
        return f"{'https' if self.authority else 'http'}://{self.host}:{self.port}"

    def url(self, index: str = "locus-checkpoints", user: str = "admin", password: str | None = None) -> str:
        """The connection URL of a store."""
        secret = quote(self.password if password is None else password, safe="")
        scheme, _, host = self.address.partition("://")
        return f"opensearch+{scheme}://{quote(user, safe='')}:{secret}@{host}/{index}"

    @property
    def ca(self) -> str | None:
        """The certificate that clients must trust, PEM text."""
        return self.authority.certificate.decode() if self.authority else None

    @property
    def version(self) -> str:
        """The version that the server reports."""
        return str(self.ask("GET", "/")["version"]["number"])

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request with all rights; the answer may be an error's."""
        context = ssl.create_default_context(cadata=self.ca) if self.authority else False
        login = ("admin", self.password)
        answer = httpx.request(method, f"{self.address}{path}", json=body, auth=login, verify=context, timeout=30)
        return answer.json()

    def reset(self) -> None:
        """Forget all indexes, templates, users, policies and faults; both plugins are there again."""
        self.set_plugins()
        for index in self.ask("GET", "/_mapping"):
            if not index.endswith("--searchable"):
                self.ask("DELETE", f"/{index}")
        for template in self.ask("GET", "/_index_template")["index_templates"]:
            self.ask("DELETE", f"/_index_template/{template['name']}")
        self.ask("POST", "/_front/forget_users")
        self.ask("DELETE", "/_front/faults")

    def set_plugins(self, *, security: bool = True, ism: bool = True) -> None:
        """Be a server that has these plugins."""
        self.ask("PUT", "/_front/plugins", {"security": security, "ism": ism})

    def documents(self, index: str) -> list[dict[str, Any]]:
        """All documents of an index, refreshed or not."""
        self.ask("POST", f"/{index}/_refresh")
        found = self.ask("POST", f"/{index}/_search", {"size": 10_000})
        return [hit["_source"] for hit in found["hits"]["hits"]]

    def add_user(self, name: str, password: str, role: str = "all_access") -> None:
        """Make a user; the role ``readall`` may only read."""
        body = {"password": password, "opendistro_security_roles": [role]}
        self.ask("PUT", f"/_plugins/_security/api/internalusers/{name}", body)

    def delete_user(self, name: str) -> None:
        """Let a login be rejected."""
        self.ask("DELETE", f"/_plugins/_security/api/internalusers/{name}")

    def requests(self) -> list[dict[str, Any]]:
        """The requests since the last call of this, this server's own controls left out."""
        log: list[dict[str, Any]] = self.ask("POST", "/_front/log")
        return log

    def fail(self, path: str, action: str, times: int = 1, status: int = 0, body: Any = None) -> None:
        """Fail the next requests that match.

        Args:
            path: Regular expression, searched in ``METHOD /path``.
            action: ``drop_before`` or ``drop_after`` it took effect, or ``answer`` instead.
            times: How many requests.
            status: Of the answer.
            body: Of the answer.
        """
        fault = {"path": path, "action": action, "times": times, "status": status, "body": body}
        self.ask("POST", "/_front/faults", fault)

    def drop_connections(self) -> int:
        """Reset the connections of all clients; return how many there were."""
        return int(self.ask("POST", "/_front/drop_connections")["dropped"])

    def close(self) -> None:
        """Stop both and remove the temporary directories."""
        try:
            super().close()
        finally:
            self._store.close()

    def _prepare(self) -> None:
        if self.authority:
            self.authority.issue_server().write(self.directory, "server")
        self._store.start()

    def _command(self) -> list[str]:
        options = [f"--host={self.host}", f"--port={self.port}", f"--store={self._store.url}"]
        if self.authority:
            options.append(f"--certificate={self.directory / 'server.crt'}")
        options += [
            f"--password-file={self._password_file}",
            f"--state-file={self.directory / 'users-and-policies.json'}",
        ]
        return [sys.executable, "-m", "tests.emulators.opensearch", *options]

    def _environment(self) -> Mapping[str, str]:
        return {**super()._environment(), "PYTHONPATH": str(REPOSITORY)}

    def _is_ready(self) -> bool:
        # Whoever else took the port must not be sent our password.
        return _listens(self.pid) and bool(self.version)


def _listens(pid: int) -> bool:
    try:
        sockets = psutil.Process(pid).net_connections(kind="tcp")
    except psutil.NoSuchProcess:
        return False
    return any(socket.status == psutil.CONN_LISTEN for socket in sockets)
