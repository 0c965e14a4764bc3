"""`locus-memory` as a process, as people and scripts run it."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from locus_memory.commands import documents

COMMAND = (sys.executable, "-m", "locus_memory.cli")

_VARIABLES = ("SERVICE_BINDING_ROOT", "LOCUS_CHECKPOINT_STORE", "LOCUS_CHECKPOINT_URL")


class Done:
    """What a command printed, and what it ended with."""

    def __init__(self, code: int, out: str, errors: str) -> None:
        self.code = code
        self.out = out
        self.errors = errors

    def document(self, kind: type[documents.Document]) -> Any:
        """The JSON document, which has to be of this kind, and all that was printed."""
        assert self.out.count("\n") == 1, self.out
        return kind.model_validate_json(self.out)

    @property
    def error(self) -> documents.Failed:
        """The error of a command that failed with `--json`; its code is the process's."""
        failed: documents.Failed = self.document(documents.ErrorDocument).error
        assert failed.exit_code == self.code
        return failed

    @property
    def json(self) -> Any:
        """The document as plain data."""
        return json.loads(self.out)


class CommandLine:
    """Runs commands on a store, and remembers all that they printed."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._environment: dict[str, str] = {}
        self.printed: list[str] = []

    @property
    def url(self) -> str:
        """The store that commands work on."""
        return self._environment["LOCUS_CHECKPOINT_URL"]

    def bind(self, url: str) -> None:
        """Let the following commands work on this store."""
        self._environment["LOCUS_CHECKPOINT_URL"] = url

    def on_a_terminal(self, answer: str, *arguments: str, code: int) -> str:
        """Run a command on a terminal of its own, answer its question, and return what it showed."""
        terminal, other_end = pty.openpty()
        # The terminal turns Ctrl-C into a signal only for a session whose own it is.
        process = subprocess.Popen(
            ["setsid", "--ctty", *COMMAND, *arguments],
            env=self._all(None),
            stdin=other_end,
            stdout=other_end,
            stderr=other_end,
        )
        os.close(other_end)
        with os.fdopen(terminal, "r+b", buffering=0) as stream:
            shown = b""
            while b"]:" not in shown and (read := _read(stream)):
                shown += read
            stream.write(answer.encode())
            while read := _read(stream):
                shown += read
        ended = process.wait(timeout=20)
        text = shown.decode()
        self.printed.append(text)
        assert ended == code, text
        return text

    def url_file(self, url: str) -> str:
        """Write a URL into a file, and return the argument that names it."""
        path = self._directory / f"url-{len(list(self._directory.glob('url-*')))}"
        path.touch(mode=0o600)
        path.write_text(url + "\n")
        return f"@{path}"

    def run(
        self, *arguments: str, code: int = 0, environment: Mapping[str, str] | None = None, given: str = ""
    ) -> Done:
        """Run a command to its end, which has to be this code."""
        done = subprocess.run(
            [*COMMAND, *arguments],
            env=self._all(environment),
            input=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        self.printed += [done.stdout, done.stderr]
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return Done(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str, stdout: IO[Any] | int = subprocess.PIPE) -> subprocess.Popen[str]:
        """Start a command; end it with `finish`."""
        return subprocess.Popen(
            [*COMMAND, *arguments], env=self._all(None), stdout=stdout, stderr=subprocess.PIPE, text=True
        )

    def finish(self, process: subprocess.Popen[str], number: signal.Signals | None = None) -> Done:
        """Signal a command, if it still runs, and wait for its end."""
        if number is not None:
            process.send_signal(number)
        out, errors = process.communicate(timeout=60)
        self.printed += [out or "", errors]
        return Done(process.returncode, out or "", errors)

    def _all(self, environment: Mapping[str, str] | None) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if name not in _VARIABLES}
        # Wide, and without colours, whatever runs the tests.
        return inherited | self._environment | {"NO_COLOR": "1"} | dict(environment or {})


def _read(terminal: IO[bytes]) -> bytes:
    try:
        return terminal.read(4096)
    except OSError:  # The last process on it has ended.
        return b""
