"""Writes what the chart and the examples share with other sources: `python -m hack.chart`, or `make chart`.

* `helm/locus-operator/files/crds/`: the CRDs of `crds/`;
* the tables in the chart's README: values from the comments in `values.yaml`, combinations from `ci/`;
* `examples/operator-rbac.yaml`: the permissions of the chart, for those who run the processes themselves.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

REPOSITORY: Final = Path(__file__).resolve().parents[1]
CHART: Final = REPOSITORY / "helm" / "locus-operator"
README: Final = CHART / "README.md"
RBAC_EXAMPLE: Final = REPOSITORY / "examples" / "operator-rbac.yaml"

_ENTRY: Final = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z][A-Za-z0-9]*):(?P<value>.*)$")
_COMMENT: Final = re.compile(r"^ *# ?(?P<text>.*)$")
_MARK: Final = "-- "
# Labels with which Helm knows its own objects, and a version that would change with every release.
_HELM_LABELS: Final = re.compile(
    r"^ +(helm\.sh/chart|app\.kubernetes\.io/(managed-by|version|instance)): .*\n", re.MULTILINE
)
_RBAC_TEMPLATES: Final = ("service-accounts", "controller-rbac", "webhook-rbac", "user-roles")
_RBAC_HEAD: Final = """\
# Written by `make chart` from the templates of helm/locus-operator: change those.
# What the controller and the webhook may do, and nothing else.
apiVersion: v1
kind: Namespace
metadata:
  name: locus-system
"""


@dataclass(frozen=True, slots=True)
class Value:
    """A value with its comment.

    Attributes:
        path: Its name, such as `webhook.port`.
        default: The default as YAML in one line.
        description: The comment.
    """

    path: str
    default: str
    description: str


def documented_values(text: str) -> Iterator[Value]:
    """Yield the values of a `values.yaml` that have a comment beginning with `# --`."""
    document = yaml.safe_load(text)
    parents: list[tuple[int, str]] = []
    comment: list[str] = []
    for line in text.splitlines():
        if found := _COMMENT.match(line):
            said = found["text"]
            if said.startswith(_MARK):
                comment = [said.removeprefix(_MARK)]
            elif comment:
                comment.append(said)
            continue
        if entry := _ENTRY.match(line):
            indent = len(entry["indent"])
            parents = [each for each in parents if each[0] < indent]
            path = ".".join([*(name for _, name in parents), entry["key"]])
            parents.append((indent, entry["key"]))
            if comment:
                yield Value(path, _shown(_at(document, path)), " ".join(comment))
        comment = []


def leaves(document: Any, documented: set[str], path: str = "") -> Iterator[str]:
    """Yield the paths of a `values.yaml` below which nothing is documented: each needs a comment of its own."""
    if isinstance(document, dict) and path not in documented and document:
        for name, child in document.items():
            yield from leaves(child, documented, f"{path}.{name}" if path else name)
    else:
        yield path


def values_table(text: str) -> str:
    """Write the table of values."""
    rows = (f"| `{each.path}` | `{each.default}` | {each.description} |" for each in documented_values(text))
    return "\n".join(["| Value | Default | |", "|---|---|---|", *rows])


def combinations_table(directory: Path) -> str:
    """Write the table of the combinations of values that the tests render: the first comment of each file."""
    rows = []
    for file in sorted(directory.glob("*-values.yaml")):
        comment = file.read_text().partition("\n")[0].removeprefix("# ")
        rows.append(f"| [`ci/{file.name}`](ci/{file.name}) | {comment} |")
    return "\n".join(["| Values | For |", "|---|---|", *rows])


def readme() -> str:
    """Return the chart's README with its tables as they should be."""
    text = README.read_text()
    text = _between(text, "values", values_table((CHART / "values.yaml").read_text()))
    return _between(text, "combinations", combinations_table(CHART / "ci"))


def rbac_example() -> str:
    """Render the permissions of the chart without what belongs to Helm, comments included."""
    helm = subprocess.run([sys.executable, REPOSITORY / "hack" / "helm"], stdout=subprocess.PIPE, text=True, check=True)
    shown = [f"--show-only=templates/{name}.yaml" for name in _RBAC_TEMPLATES]
    command = [helm.stdout.strip(), "template", "locus-operator", str(CHART), "--namespace=locus-system", *shown]
    rendered = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    text = _HELM_LABELS.sub("", re.sub(r"^# Source: .*\n", "", rendered, flags=re.MULTILINE))
    documents = (each.strip("\n") for each in re.split(r"^---\n", text, flags=re.MULTILINE))
    return "---\n".join([_RBAC_HEAD, *(f"{each}\n" for each in documents if each)])


def crd_copies() -> dict[Path, str]:
    """Return the files of the chart's CRDs, and what they should hold."""
    directory = CHART / "files" / "crds"
    return {directory / file.name: file.read_text() for file in sorted((REPOSITORY / "crds").glob("*.yaml"))}


def generated() -> dict[Path, str]:
    """Return all files that this module writes, and what they should hold."""
    return {**crd_copies(), README: readme(), RBAC_EXAMPLE: rbac_example()}


def main() -> None:
    """Write them."""
    for path, text in generated().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        print(path.relative_to(REPOSITORY))


def _at(document: Any, path: str) -> Any:
    for name in path.split("."):
        document = document[name]
    return document


def _shown(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000).partition("\n")[0]
    return text.removesuffix("...").strip().replace("|", "\\|")


def _between(text: str, name: str, content: str) -> str:
    begin, end = f"<!-- {name}: written by make chart -->", f"<!-- end of {name} -->"
    before, found, rest = text.partition(begin)
    _, also_found, after = rest.partition(end)
    if not found or not also_found:
        raise ValueError(f"README.md has no {begin} and {end}")
    return f"{before}{begin}\n{content}\n{end}{after}"


if __name__ == "__main__":
    main()
