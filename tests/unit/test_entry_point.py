"""`locus_memory.checkpointer` is a function beside a module of the same name."""

import subprocess
import sys

import pytest


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
