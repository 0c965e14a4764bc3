"""The tutorial, typed by somebody who trusts it."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from hack.demo.playground import DIRECTORY
from tests.e2e.console import Command, Shell, agrees, commands
from tests.e2e.control_plane import REPOSITORY
from tests.servers.processes import Child, wait_for

TUTORIAL = REPOSITORY / "docs/tutorial.md"
FIRST_TERMINAL = "First terminal"
START_TIMEOUT = 120.0
STOP_TIMEOUT = 30.0
# Those of a new terminal: none of this test run's, such as what an outer `make` sets.
VARIABLES = ("PATH", "HOME", "KUBEBUILDER_ASSETS", "XDG_CACHE_HOME")


@pytest.fixture
def environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    return {**kept, "LANG": "C.UTF-8"}


@pytest.fixture
def shell(environment: dict[str, str], tmp_path: Path) -> Iterator[Shell]:
    # What the page leaves in the system's directory goes with the test's own.
    shell = Shell(REPOSITORY, {**environment, "TMPDIR": str(tmp_path)})
    yield shell
    shell.close()


class FirstTerminal:
    """The terminal in which one command runs until Ctrl-C."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self._environment = environment
        self._log = log
        self._seen = 0
        self._child: Child | None = None

    def type(self, command: Command) -> str:
        """Type a command, or the key; returns what was printed since the last time."""
        if command.text == "^C":
            self._interrupt()
        else:
            self._start(command)
        printed = self._log.read_text()[self._seen :]
        self._seen += len(printed)
        return printed

    def close(self) -> None:
        """End what still runs."""
        if self._child is not None:
            self._child.stop(timeout=STOP_TIMEOUT)

    def _start(self, command: Command) -> None:
        # Somebody else may be working with the environment: it is not installed anew under their feet.
        text = command.text.replace("make ", "make --old-file=.venv/.installed ")
        last = command.output.splitlines()[-1]
        self._child = Child(
            FIRST_TERMINAL,
            ["bash", "-c", f"exec {text}"],
            log=self._log,
            environment=self._environment,
            death_signal=signal.SIGTERM,
            cwd=REPOSITORY,
        )
        self._child.wait_until_ready(lambda: last in self._log.read_text(), timeout=START_TIMEOUT)

    def _interrupt(self) -> None:
        child = self._child
        assert child is not None
        # The key reaches everything that runs in the terminal.
        os.killpg(child.pid, signal.SIGINT)
        wait_for(lambda: not child.running, timeout=STOP_TIMEOUT, what="the end after Ctrl-C")


@pytest.fixture
def first_terminal(environment: dict[str, str], tmp_path: Path) -> Iterator[FirstTerminal]:
    terminal = FirstTerminal(environment, tmp_path / "first-terminal")
    yield terminal
    terminal.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="the playground's node needs root, for mount namespaces")
def test_every_command_prints_what_the_page_shows(shell: Shell, first_terminal: FirstTerminal) -> None:
    typed = list(commands(TUTORIAL.read_text()))
    for command in typed:
        printed = first_terminal.type(command) if command.terminal == FIRST_TERMINAL else shell.run(command.text)
        assert agrees(command.output, printed), f"$ {command.text}\n{printed}\nThe page shows:\n{command.output}"
    assert len(typed) > 30
    assert not DIRECTORY.exists()


class TestComparison:
    """A page that is wrong is found out."""

    def test_commands_are_found_with_their_here_documents_and_outputs(self) -> None:
        page = "```console\n$ cat <<'END'\n$ text\nEND\n$ text\n$ true\n```\n```sh\nno\n```\n"
        page += '```console title="Other"\n^C\nbye\n```\n'
        assert list(commands(page)) == [
            Command("", "cat <<'END'\n$ text\nEND", ""),
            Command("", "text", ""),
            Command("", "true", ""),
            Command("Other", "^C", "bye"),
        ]

    @pytest.mark.parametrize(
        ("shown", "printed"),
        [
            ("", ""),
            ("agent   1/1   24s", "agent 1/1 2m4s\n"),
            ("✓ a step  0.7 s", "✓ a step\n"),
            ("Done in 24 s.", "Done in 9 s.\n"),
            ("saved  2026-11-23 18:26:51 UTC", "saved 2027-01-01 00:00:00 UTC\n"),
            ("first\n…\nlast", "first\nlast\n"),
            ("first\n…\nlast", "first\nsecond\nthird\nlast\n"),
            ("rejected: …", "rejected: the reason\n"),
        ],
    )
    def test_what_differs_from_run_to_run_agrees(self, shown: str, printed: str) -> None:
        assert agrees(shown, printed)

    @pytest.mark.parametrize(
        ("shown", "printed"),
        [
            ("", "error: something\n"),
            ("Ready", ""),
            ("True  Ready", "False  Conflict\n"),
            ("first\n…\nlast", "first\nsecond\n"),
            ("first\nlast", "first\nsecond\nlast\n"),
            ("rejected: …", "accepted: …\n"),
            ("4 messages", "7 messages\n"),
        ],
    )
    def test_anything_else_does_not(self, shown: str, printed: str) -> None:
        assert not agrees(shown, printed)

    def test_a_shell_keeps_what_was_set_and_shows_both_streams(self, shell: Shell) -> None:
        shell.run("export NAME=value; cd /")
        shown = "value\n/\nls: cannot access '/nowhere': No such file or directory\n"
        assert shell.run("echo $NAME; pwd; ls /nowhere") == shown
