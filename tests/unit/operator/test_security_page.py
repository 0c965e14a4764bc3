"""docs/security.md says what the operator's accounts may do."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from locus_operator.api.backends import Backend

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/security.md").read_text()
_ROW = re.compile(r"^\| (?P<row>[\w-]+ \| (?:everywhere|own namespace) \| `[^|]+ \| [a-z, ]+) \|", re.MULTILINE)


def granted() -> Iterator[str]:
    """Rows of the table, as the manifest has them."""
    for document in yaml.safe_load_all((ROOT / "examples/operator-rbac.yaml").read_text()):
        if document["kind"] in ("ClusterRole", "Role"):
            role = str(document["metadata"]["name"]).removeprefix("locus-operator-")
            where = "everywhere" if document["kind"] == "ClusterRole" else "own namespace"
            for rule in document["rules"]:
                yield from (f"{role} | {where} | {row}" for row in _rows(rule))


def _rows(rule: dict[str, Any]) -> Iterator[str]:
    names = ", ".join(f"`{name}`" for name in rule.get("resourceNames", ()))
    for resource in rule["resources"]:
        yield f"`{resource}`{f' ({names})' if names else ''} | {', '.join(rule['verbs'])}"


def test_the_table_of_permissions_is_what_is_granted() -> None:
    assert sorted(match["row"] for match in _ROW.finditer(PAGE)) == sorted(granted())


def test_every_backend_has_its_logins_described() -> None:
    section = PAGE.partition("## What each login may do")[2].partition("\n## ")[0]
    linked = set(re.findall(r"^\| \[[^\]]+\]\(provision/([\w-]+)\.md\)", section, re.MULTILINE))
    assert linked == {re.sub("_", "-", name) for name in Backend.model_fields}
