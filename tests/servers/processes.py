"""Starting, watching and ending child processes so that none outlives its parent."""

import functools
import os
import pwd
import random
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

SHORTEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.01, 0.5
LOG_TAIL_BYTES = 4000


class ServerError(RuntimeError):
    """A server did not do what was asked of it; the message names its log."""


class ServerUnavailableError(ServerError):
    """This machine lacks the program that the server needs; the message says how to get it."""


def wait_for(condition: Callable[[], bool], *, timeout: float, what: str) -> None:
    """Poll ``condition`` until it holds, with pauses that are twice as long as a look takes.

    Raises:
        ServerError: it did not hold within ``timeout`` seconds; ``what`` says what was awaited.
    """
    deadline = time.monotonic() + timeout
    while True:
        begin = time.monotonic()
        if condition():
            return
        end = time.monotonic()
        if end > deadline:
            raise ServerError(f"{what}: not within {timeout:g} s")
        # Looks that start programs would keep a processor from what they wait for.
        time.sleep(min(max(2 * (end - begin), SHORTEST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS))


_LOWEST_PORT = 17_000


def free_port() -> int:
    """A loopback TCP port that is free now.

    Nothing reserves it: whoever loses the race for it sees the server's own complaint. The port lies below
    the range from which the kernel picks ports for outgoing connections: inside it, a client that retries
    while the server restarts can be given the server's port (or connect to itself) and keep the server out. And above
    the fixed ports of the demo, which another process may be playing.
    """
    ephemeral = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    candidates = range(_LOWEST_PORT, int(ephemeral[0]))
    for port in random.sample(candidates, min(64, len(candidates))):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@functools.cache
def unprivileged_user() -> str | None:
    """Whom a server that refuses root runs as; None where we are not root and need nobody else."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    for name in ("pgserver", "postgres"):
        if name in known:
            return name
    subprocess.run(
        ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", "pgserver"],
        check=True,
        capture_output=True,
    )
    return "pgserver"


def drop_privileges(user: str | None) -> list[str]:
    """The command prefix that runs what follows as ``user``; empty for None."""
    if user is None:
        return []
    entry = pwd.getpwnam(user)
    return ["setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups", "--"]


class Child:
    """One running program with its own session and log, which dies with this process.

    Args:
        name: what errors call it.
        command: program and arguments. They are visible to every user of the machine: no secrets.
        log: receives standard output and error, appended.
        user: the user to run as, None for the current one.
        environment: None for this process's own.
        death_signal: what the kernel sends it when this process dies, however that happens.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        user: str | None = None,
        environment: Mapping[str, str] | None = None,
        death_signal: signal.Signals = signal.SIGKILL,
        cwd: Path | None = None,
    ) -> None:
        self.name = name
        self.log = log
        # setpriv, as Popen's preexec_fn is unsafe with threads and warns from Python 3.12 on.
        prefix = drop_privileges(user) or ["setpriv", "--"]
        self._command = [*prefix[:-1], f"--pdeathsig={death_signal.name[3:]}", "--", *command]
        self._environment = None if environment is None else dict(environment)
        self._cwd = cwd
        self._log_start = log.stat().st_size if log.exists() else 0
        self._started = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._failure: OSError | None = None
        # The death signal follows the thread that forked: this one lives exactly as long as the child,
        # whereas the caller may be a pool worker that ends with its event loop.
        self._thread = threading.Thread(target=self._run, name=f"child {name}", daemon=True)
        self._thread.start()
        self._started.wait()
        if self._failure is not None:
            raise ServerError(f"{name}: cannot run {self._command[0]}: {self._failure}") from self._failure

    def _run(self) -> None:
        try:
            with self.log.open("ab") as output:
                self._process = subprocess.Popen(
                    self._command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=self._environment,
                    cwd=self._cwd,
                    start_new_session=True,  # Ctrl-C is for the test run, which then stops its servers
                )
        except OSError as error:
            self._failure = error
            return
        finally:
            self._started.set()
        self._process.wait()

    @property
    def pid(self) -> int:
        """The process id, also after the end."""
        assert self._process is not None
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        assert self._process is not None
        return self._process.returncode

    @property
    def running(self) -> bool:
        """Whether the program still runs; a paused one does."""
        return self._thread.is_alive()

    def log_tail(self) -> str:
        """The end of what this run wrote to its log."""
        with self.log.open("rb") as output:
            end = output.seek(0, os.SEEK_END)
            output.seek(max(self._log_start, end - LOG_TAIL_BYTES))
            return output.read().decode(errors="replace")

    def wait_until_ready(self, ready: Callable[[], bool], *, timeout: float) -> None:
        """Poll ``ready`` until it holds.

        Raises:
            ServerError: the program ended or took more than ``timeout`` seconds; with the end of the log.
        """
        try:
            wait_for(lambda: not self.running or ready(), timeout=timeout, what="ready")
        except ServerError as error:
            raise ServerError(f"{self.name}: {error}; log {self.log}:\n{self.log_tail()}") from error
        if not self.running:
            assert self._process is not None
            code = self._process.returncode
            raise ServerError(f"{self.name}: ended with code {code}; log {self.log}:\n{self.log_tail()}")

    def send(self, number: signal.Signals) -> None:
        """Signal the program itself, not its children."""
        _signal(self._tree()[:1], number)

    def stop(self, number: signal.Signals = signal.SIGTERM, *, timeout: float = 20) -> None:
        """End the program in its own way and wait for it; resumes a paused one.

        Raises:
            ServerError: it did not end within ``timeout`` seconds; it was then killed.
        """
        if not self.running:
            return
        tree = self._tree()
        _signal(tree[:1], number)
        _signal(tree, signal.SIGCONT)
        self._thread.join(timeout)
        if self.running:
            self.kill()
            outcome = f"did not end within {timeout:g} s of {number.name} and was killed"
            raise ServerError(f"{self.name}: {outcome}; log {self.log}")

    def kill(self) -> None:
        """SIGKILL the program and all its descendants, and wait until they are gone."""
        if not self.running:
            return
        tree = self._frozen_tree()
        _signal(tree, signal.SIGKILL)
        self._thread.join()
        wait_for(lambda: not any(_alive(process) for process in tree), timeout=10, what=f"{self.name} killed")

    def pause(self) -> None:
        """SIGSTOP the program and all its descendants: connections stay open and nothing answers."""
        self._frozen_tree()

    def resume(self) -> None:
        """Undo ``pause``."""
        if self.running:
            _signal(self._tree(), signal.SIGCONT)

    def _tree(self) -> list[psutil.Process]:
        """The program and its descendants; nothing where it has just ended."""
        try:
            root = psutil.Process(self.pid)
            return [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _frozen_tree(self) -> list[psutil.Process]:
        """All processes, stopped; parents first, so that none can fork between the listing and the signal."""
        seen: list[psutil.Process] = []
        while fresh := [process for process in self._tree() if process not in seen]:
            _signal(fresh, signal.SIGSTOP)
            seen += fresh
        return seen


def _signal(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        # An ended process is what the caller wanted or about to notice anyway.
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue


def _alive(process: psutil.Process) -> bool:
    # An orphan may stay a zombie where the container's first process does not reap.
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
