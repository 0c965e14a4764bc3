"""What all servers of the tests have in common: a directory, a child process, a life cycle."""

import secrets
import shutil
import signal
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from tests.servers.processes import Child, ServerError, free_port

START_SECONDS = 30


class Server(ABC):
    """A real server on a free loopback port; a context manager that starts and closes it.

    The methods block; call them from asynchronous code with ``asyncio.to_thread``.

    Args:
        directory: where the data lives; it is kept. None for a temporary one, removed by ``close``.
        log: the log file; None for one inside the directory.
    """

    product: str
    """The server's name as people know it."""

    death_signal = signal.SIGKILL
    """What the server gets when this process dies."""

    def __init__(self, directory: Path | None = None, *, log: Path | None = None) -> None:
        self.host = "127.0.0.1"
        self.port = 0
        self._temporary = directory is None
        self.directory = directory or Path(tempfile.mkdtemp(prefix="locus-server-"))
        self.directory.mkdir(parents=True, exist_ok=True)
        self.log = log or self.directory / "server.log"
        self._child: Child | None = None
        self.password = self._read_or_make_password()
        """The password of the server's own administrator, new for every directory."""

    @abstractmethod
    def _prepare(self) -> None:
        """Write configuration and data before the first start; ``port`` is set."""

    @abstractmethod
    def _command(self) -> list[str]:
        """Program and arguments, without secrets."""

    @abstractmethod
    def _is_ready(self) -> bool:
        """Whether this very process answers clients."""

    @property
    @abstractmethod
    def version(self) -> str:
        """The version that the running server reports."""

    def _user(self) -> str | None:
        return None

    def _environment(self) -> Mapping[str, str]:
        # A user's own PGHOST and the like must not reach the server, nor secrets of the environment.
        return {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC", "HOME": str(self.directory)}

    @property
    def running(self) -> bool:
        """Whether the server's process exists; a paused one does."""
        return self._child is not None and self._child.running

    @property
    def pid(self) -> int:
        """The process id of the server's first process.

        Raises:
            ServerError: it was never started.
        """
        return self._started().pid

    def start(self, port: int | None = None) -> None:
        """Start the server and wait until it answers; the port and the data stay those of the first start.

        Args:
            port: for the first start; None for any that is free.

        Raises:
            ServerError: it runs already, or did not come up (another process took its port, say).
        """
        if self.running:
            raise ServerError(f"{self.product}: runs already with pid {self.pid}")
        if not self.port:
            self.port = port or free_port()
            self._prepare()
        self._child = Child(
            f"{self.product} on port {self.port}",
            self._command(),
            log=self.log,
            user=self._user(),
            environment=self._environment(),
            death_signal=self.death_signal,
        )
        try:
            self._child.wait_until_ready(self._is_ready, timeout=START_SECONDS)
        except BaseException:
            self._child.kill()
            raise

    def stop(self) -> None:
        """Shut the server down in its own orderly way; the data stays."""
        if self._child is not None:
            self._child.stop()

    def kill(self) -> None:
        """SIGKILL all the server's processes, as a crash or an out-of-memory kill does."""
        self._started().kill()

    def restart(self) -> None:
        """Stop the server if it runs and start it on the same port and data."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze all the server's processes: connections hang instead of breaking."""
        self._started().pause()

    def resume(self) -> None:
        """Let a paused server go on."""
        self._started().resume()

    def close(self) -> None:
        """Stop the server and remove its temporary directory."""
        try:
            self.stop()
        finally:
            if self._temporary:
                shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException as error:
            # The log is worth more than a clean /tmp.
            error.add_note(f"kept for inspection: {self.directory}")
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read_or_make_password(self) -> str:
        path = self._password_file
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(secrets.token_urlsafe(24))
        return path.read_text()

    @property
    def _password_file(self) -> Path:
        return self.directory / "password"

    def _started(self) -> Child:
        if self._child is None:
            raise ServerError(f"{self.product}: was never started")
        return self._child
