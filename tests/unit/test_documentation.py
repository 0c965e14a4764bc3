"""What users read names everything that they meet, and its links lead somewhere."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from prometheus_client.metrics_core import Metric

from locus_memory import arguments, errors
from locus_memory.cli import app
from locus_operator import constants
from locus_operator.cli import ExitCode
from locus_operator.constants import ConditionReason, ConditionType, EventReason
from locus_operator.controller.command import EXIT_LOST
from locus_operator.settings import Settings
from locus_operator.telemetry import ControllerMetrics, WebhookMetrics

ROOT = Path(__file__).parents[2]
OPERATOR = (ROOT / "docs/operator.md").read_text()
LIBRARY = (ROOT / "docs/library.md").read_text()
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def families() -> Iterator[Metric]:
    """The metrics of both processes."""
    for metrics in (ControllerMetrics(dict), WebhookMetrics()):
        yield from metrics.registry.collect()


@pytest.mark.parametrize("name", sorted({*ConditionReason, *ConditionType, *EventReason}))
def test_conditions_and_events_are_documented(name: str) -> None:
    assert re.search(rf"\b{name}\b", OPERATOR)


def test_exit_codes_are_documented() -> None:
    section = OPERATOR.partition("| Exit code | |")[2]
    assert set(map(int, re.findall(r"^\| (\d+) \|", section, re.MULTILINE))) == {*ExitCode, EXIT_LOST}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_settings_and_metrics_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text()
    settings = {f"LOCUS_OPERATOR_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"\bLOCUS_OPERATOR_[A-Z_]+[A-Z]\b", text)) <= settings
    metrics = {f"{family.name}{'_total' * (family.type == 'counter')}" for family in families()}
    assert set(re.findall(r"\blocus_operator_[a-z_]+(?=[`{)\s])", text)) <= metrics


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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_extras_that_a_page_installs_exist(page: Path) -> None:
    named = re.findall(r"(?:locus-memory|pip install \S* ?\S* ?'\.)\[([a-z,]+)\]", page.read_text())
    assert {extra for each in named for extra in each.split(",")} <= EXTRAS.keys()


def test_extras_are_documented() -> None:
    for_developers = {"dev", "bench", "all"}
    assert [name for name in EXTRAS.keys() - for_developers if f"`{name}`" not in LIBRARY] == []


def test_the_comparison_is_with_the_versions_that_were_measured() -> None:
    page = (ROOT / "docs/comparison.md").read_text()
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    named = re.findall(r"`(lang[\w-]+|locus-sdk)` (\d[\d.]*\d)", page)
    assert len(named) == 4
    assert [(name, version) for name, version in named if pinned[name] != version] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_reasons_that_a_page_explains_exist(page: Path) -> None:
    explained = re.findall(r"^## Condition[^\n]*\n(.*?)(?=^## |\Z)", page.read_text(), re.MULTILINE | re.DOTALL)
    first_columns = re.findall(r"^\| ([^|]*)\|", "".join(explained), re.MULTILINE)
    named = set(re.findall(r"`([A-Z][A-Za-z]+)`", "".join(first_columns)))
    assert named <= {*ConditionReason, *ConditionType, *EventReason}


@pytest.mark.parametrize("kind", ["missing", "refused", "unavailable"])
def test_pauses_are_those_of_the_settings(kind: str) -> None:
    first, longest = (Settings.model_fields[f"{kind}_retry_{name}"].default for name in ("seconds", "max_seconds"))
    assert f"| after {first} s, doubling up to {longest} s |" in OPERATOR


def test_the_defaults_of_serve_are_those_of_the_command() -> None:
    group: Any = typer.main.get_command(app)
    defaults = {option: each.default for each in group.commands["serve"].params for option in each.opts}
    shown = re.findall(r"^\| `(--[\w-]+)` \| (\d+) \|", (ROOT / "docs/serve.md").read_text(), re.MULTILINE)
    assert len(shown) > 5
    assert [name for name, value in shown if defaults[name] != int(value)] == []


def test_limits_are_those_of_the_arguments() -> None:
    assert f"1 to {arguments.MAX_ID_BYTES:,} bytes" in LIBRARY
    assert f"up to {arguments.MAX_METADATA_BYTES // 1024} KiB" in LIBRARY
