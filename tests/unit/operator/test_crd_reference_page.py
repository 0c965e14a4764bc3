"""docs/crd-reference.md is what the models say about themselves."""

import re

from hack.crd_reference import PAGE, page
from locus_operator.api import crd
from locus_operator.api.backends import KINDS


def test_the_page_is_fresh() -> None:
    assert PAGE.read_text() == page(), "run: python -m hack.crd_reference"


def test_each_backend_and_kind_has_a_section() -> None:
    for manifest in crd.crd_manifests():
        assert f"\n## {manifest['spec']['names']['kind']}\n" in page()
    for kind in KINDS:
        assert kind == "memory" or f"\n### CheckpointStore.spec.backend.{kind}\n" in page()


def test_each_link_leads_to_a_heading() -> None:
    headings = {re.sub(r"[^-a-z0-9_]", "", each.lower()) for each in re.findall(r"^#+ (.*)$", page(), re.MULTILINE)}
    links = set(re.findall(r"\]\(#([^)]+)\)", page()))
    assert links
    assert links <= headings
