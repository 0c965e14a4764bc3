"""The README's tour and other terminals on pages, typed by somebody who trusts them; the tutorial has its own test."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.console import Shell, agrees, commands
from tests.servers.postgresql import Database

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


def type_all(page: str, shell: Shell) -> int:
    """Type the commands of a page, compare what they print, and return how many there are."""
    typed = list(commands(page))
    for command in typed:
        printed = shell.run(command.text)
        assert agrees(command.output, printed), f"$ {command.text}\n{printed}\nThe page shows:\n{command.output}"
    return len(typed)


def test_the_tour_prints_what_it_shows(shell: Shell) -> None:
    assert type_all((ROOT / "README.md").read_text(), shell) > 10


def test_long_term_memory_prints_what_its_page_shows(shell: Shell, postgresql_database: Database) -> None:
    page = (ROOT / "docs/long-term-memory.md").read_text()
    server = "postgresql://user:password@host:5432/database"
    assert page.count(server) == 1
    assert type_all(page.replace(server, f"'{postgresql_database.dsn()}'"), shell) > 5
