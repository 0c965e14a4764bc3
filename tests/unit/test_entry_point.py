"""`locus_memory.checkpointer`: a function beside a module of the same name, and its defaults."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import locus_memory


@pytest.mark.parametrize(
    "before",
    [
        "",
        "from locus_memory.checkpointer import BaseCheckpointer",
        "import locus_memory.backends",
        "import locus_memory; locus_memory.checkpointer()",
    ],
)
def test_it_stays_a_function_whatever_was_imported_first(before: str) -> None:
    program = f"{before}\nimport locus_memory\nprint(type(locus_memory.checkpointer()).__name__)"
    # A process of its own: what this one has imported already would hide the order.
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"LOCUS_CHECKPOINT_URL": "memory:"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("MemoryCheckpointer\n", "")


async def test_files_are_readable_unless_compression_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCUS_CHECKPOINT_URL", f"file://{tmp_path}")
    state = {"note": "hello " * 1000}
    await locus_memory.checkpointer().save(state, "plain")
    await locus_memory.checkpointer(compression=True).save(state, "compressed")
    assert state["note"] in (tmp_path / "plain.json").read_text()
    assert state["note"] not in (tmp_path / "compressed.json").read_text()


def test_langgraphs_saver_is_found_without_an_import_of_its_own() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import locus_memory; print(locus_memory.langgraph.saver())"],
        env={**os.environ, "LOCUS_CHECKPOINT_URL": "memory:"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "LangGraphSaver" in done.stdout
