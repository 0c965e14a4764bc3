"""docs/settings.md and docs/metrics.md are what the code says."""

from pathlib import Path

import pytest

from hack.operator_reference import PAGES
from locus_operator.settings import Settings


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.name))
def test_the_page_is_up_to_date(path: Path) -> None:
    assert path.read_text() == PAGES[path](), "run `python -m hack.operator_reference`"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.name))
def test_every_row_says_what_it_is(path: Path) -> None:
    rows = [line for line in path.read_text().splitlines() if line.startswith("| `")]
    assert rows
    assert [row for row in rows if row.endswith("|  |")] == []


def test_every_setting_has_a_row() -> None:
    page = (next(path for path in PAGES if path.name == "settings.md")).read_text()
    assert page.count("\n| `LOCUS_OPERATOR_") == len(Settings.model_fields)
