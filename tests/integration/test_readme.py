"""The README's tour, typed by somebody who trusts it."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.console import Shell, agrees, commands

ROOT = Path(__file__).parents[2]


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    # What the tour writes goes with the test; the environment that it installs first is the one that runs the tests.
    (tmp_path / ".cache").mkdir()
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    shell = Shell(tmp_path, {"PATH": path, "HOME": str(tmp_path), "TMPDIR": str(tmp_path), "LANG": "C.UTF-8"})
    yield shell
    shell.close()


def test_every_command_of_the_tour_prints_what_it_shows(shell: Shell) -> None:
    typed = list(commands((ROOT / "README.md").read_text()))
    for command in typed:
        printed = shell.run(command.text)
        assert agrees(command.output, printed), f"$ {command.text}\n{printed}\nThe page shows:\n{command.output}"
    assert len(typed) > 10
