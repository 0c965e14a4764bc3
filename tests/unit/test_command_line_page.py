"""docs/command-line.md is what the commands say about themselves."""

from hack.command_line import PAGE, page
from locus_memory.commands.application import COMMANDS
from locus_memory.commands.documents import DOCUMENTS


def test_the_page_is_fresh() -> None:
    assert PAGE.read_text() == page(), "run: python -m hack.command_line"


def test_each_command_has_a_json_document_and_a_section() -> None:
    assert set(DOCUMENTS) == set(COMMANDS)
    for name in (*COMMANDS, "serve"):
        assert f"\n## `locus-memory {name}`\n" in page()
