"""docs/command-line.md is what the commands say about themselves."""

import re
from pathlib import Path

from hack.command_line import PAGE, page
from locus_memory.commands.application import COMMANDS
from locus_memory.commands.documents import DOCUMENTS


def test_the_page_is_fresh() -> None:
    assert PAGE.read_text() == page(), "run: python -m hack.command_line"


def test_each_command_has_a_json_document_and_a_section() -> None:
    assert set(DOCUMENTS) == set(COMMANDS)
    for name in (*COMMANDS, "serve"):
        assert f"\n## `locus-memory {name}`\n" in page()


def test_each_code_of_a_finding_is_documented() -> None:
    root = Path(__file__).parents[2]
    sources = [root / "locus_memory/commands/doctor.py", root / "locus_memory/commands/probe.py"]
    sources += [*root.glob("locus_memory/backends/*_diagnosis.py"), root / "locus_memory/backends/memory.py"]
    text = "".join(path.read_text() for path in sources)
    # Beside a level, or an error's class, stands a code.
    codes = set(re.findall(r'(?:Level\.[A-Z]+(?: if [^,]+)?,|Error,)\s+"([a-z-]+)"', text))
    assert {"redis-evicts", "unreachable", "memory", "works", "postgresql-privileges"} <= codes
    page_for_people = (root / "docs/on-call.md").read_text()
    assert [code for code in sorted(codes) if f"`{code}`" not in page_for_people] == []
