"""Server processes of the tests: started with a log, awaited, stopped by pid."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

TAIL_LINES = 25


class ServerError(RuntimeError):
    """A server did not start, or died; the message ends with its log's last lines and path."""


class ServerProcess:
    """One server, with its standard output and error in ``log``.

    The server gets SIGTERM when the thread that started it ends, so that an aborted test run
    leaves nothing behind: start servers from the main thread.
    """

    def __init__(self, name: str, command: list[str], log: Path, cwd: Path | None = None) -> None:
        self.name = name
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                start_new_session=True,  # a Ctrl-C is for us; we stop servers in their order
            )

    @property
    def pid(self) -> int:
        """Process id; that of the server itself."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def wait_until(self, ready: Callable[[], bool], timeout: float) -> None:
        """Poll ``ready`` until it is true.

        Raises:
            ServerError: the process ended, or ``timeout`` seconds went by.
        """
        deadline = time.monotonic() + timeout
        while not ready():
            if not self.running:
                raise self._error(f"ended with exit status {self._process.returncode}")
            if time.monotonic() > deadline:
                raise self._error(f"was not ready after {timeout:g} s")
            time.sleep(0.05)

    def stop(self, timeout: float = 20) -> None:
        """Stop the process with SIGTERM, and with SIGKILL after ``timeout`` seconds."""
        self._process.terminate()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()
        self._process.wait()

    def _error(self, what: str) -> ServerError:
        tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-TAIL_LINES:])
        return ServerError(f"{self.name} {what}. The end of its log, {self.log}:\n{tail}")
