"""What users read names everything that they meet, and its links lead somewhere."""

import re
from pathlib import Path

import pytest

from locus_memory import errors
from locus_operator import constants
from locus_operator.constants import ConditionReason, ConditionType, EventReason
from locus_operator.settings import Settings

ROOT = Path(__file__).parents[2]
OPERATOR = (ROOT / "docs/operator.md").read_text()
LIBRARY = (ROOT / "docs/library.md").read_text()
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


@pytest.mark.parametrize("name", sorted({*ConditionReason, *ConditionType, *EventReason}))
def test_conditions_and_events_are_documented(name: str) -> None:
    assert re.search(rf"\b{name}\b", OPERATOR)


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_settings_are_documented(name: str) -> None:
    assert f"`LOCUS_OPERATOR_{name.upper()}`" in OPERATOR


@pytest.mark.parametrize(
    "name",
    sorted(
        value
        for key, value in vars(constants).items()
        if key in ("LABEL_STORE", "ANNOTATION_ADOPT", "ANNOTATION_ABANDON", "ANNOTATION_BINDING_SECRET")
    ),
)
def test_labels_and_annotations_that_users_write_are_documented(name: str) -> None:
    assert name in OPERATOR


@pytest.mark.parametrize(
    "name", sorted(name for name, value in vars(errors).items() if isinstance(value, type) and name != "ClassVar")
)
def test_errors_are_documented(name: str) -> None:
    assert f"`{name}`" in LIBRARY or f"`locus_memory.errors.{name}`" in LIBRARY


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_within_the_repository_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []
