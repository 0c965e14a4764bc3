"""`locus-memory serve` as a child process, in front of any store."""

import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import psutil

from locus_memory._version import __version__
from tests.servers.server import Server


class CheckpointServer(Server):
    """The server of this library; its token is `password`.

    Args:
        store_url: URL of the store behind it.
        options: further options of `locus-memory serve`.
        directory: where the token file lives; it is kept. None for a temporary one, removed by ``close``.
        log: the log file; None for one inside the directory.
        tls: certificate and key, as PEM files.
    """

    product = "locus-memory serve"

    def __init__(
        self,
        store_url: str,
        *options: str,
        directory: Path | None = None,
        log: Path | None = None,
        tls: tuple[Path, Path] | None = None,
    ) -> None:
        super().__init__(directory, log=log)
        self._store_url = store_url
        self._tls = tls
        self.options = options
        self.token_file = self.directory / "tokens"

    @property
    def base_url(self) -> str:
        """URL without the token."""
        return f"{'https' if self._tls else 'http'}://{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """URL with the token, as `$LOCUS_CHECKPOINT_URL` takes it."""
        return self.base_url.replace("//", f"//:{self.password}@")

    @property
    def version(self) -> str:
        return __version__

    @property
    def exit_code(self) -> int | None:
        """The exit code; None while it runs."""
        return self._started().exit_code

    def interrupt(self) -> None:
        """Do what Ctrl-C does, and wait for the end."""
        self._started().stop(signal.SIGINT)

    def connections(self) -> int:
        """How many clients are connected."""
        sockets = psutil.Process(self.pid).net_connections(kind="tcp")
        return sum(each.status != psutil.CONN_LISTEN for each in sockets)

    def access_log(self) -> list[dict[str, Any]]:
        """The entries of the access log."""
        entries = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [entry for entry in entries if "route" in entry]

    def _prepare(self) -> None:
        self.token_file.touch(mode=0o600)
        self.token_file.write_text(f"{self.password}\n")

    def _command(self) -> list[str]:
        tls = [f"--tls-cert={self._tls[0]}", f"--tls-key={self._tls[1]}"] if self._tls else []
        listening = [f"--host={self.host}", f"--port={self.port}", f"--token-file={self.token_file}"]
        return [sys.executable, "-m", "locus_memory.cli", "serve", *listening, *tls, *self.options]

    def _environment(self) -> Mapping[str, str]:
        return {**os.environ, "LOCUS_CHECKPOINT_URL": self._store_url}

    def _is_ready(self) -> bool:
        try:
            # Its certificate is the tests' business.
            return httpx.get(f"{self.base_url}/healthz", verify=False, timeout=1).is_success  # noqa: S501
        except httpx.TransportError:
            return False
