"""Writes the notes of a release: `python -m hack.release_notes VERSION --image NAME@sha256:… --sbom FILE --file FILE`.

It refuses where the tree is not that release: version of the package and of the chart, a section of the changelog, and
the snapshot of the CRDs have to be there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from locus_memory._version import __version__

REPOSITORY = Path(__file__).resolve().parents[1]
KINDS = {"pkg:pypi": "from PyPI", "pkg:deb": "from Debian", "pkg:generic": "the Python interpreter"}


class NotReleasableError(RuntimeError):
    """The tree is not the release that it is said to be; the message lists why."""


def main() -> None:
    """Print the notes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("version", help="without a v")
    parser.add_argument("--image", action="append", default=[], help="a pushed image, by digest")
    parser.add_argument("--sbom", type=Path, help="CycloneDX JSON, as hack/sbom.py writes it")
    parser.add_argument("--file", type=Path, action="append", default=[], help="attached to the release")
    arguments = parser.parse_args()
    try:
        check(arguments.version)
        sys.stdout.write(notes(arguments.version, arguments.image, arguments.sbom, arguments.file))
    except NotReleasableError as error:
        sys.exit(f"release-notes: {error}")


def check(version: str, repository: Path = REPOSITORY, package: str = __version__) -> None:
    """Compare the tree with the version that it shall be released as.

    Raises:
        NotReleasableError: It is not ready.
    """
    chart = yaml.safe_load((repository / "helm/locus-operator/Chart.yaml").read_text())
    missing = [
        f"{where} is {found}, not {version}"
        for where, found in {
            "locus_memory/_version.py": package,
            "Chart.yaml: version": chart["version"],
            "Chart.yaml: appVersion": chart["appVersion"],
        }.items()
        if found != version
    ]
    if not (repository / "crds/released" / version).is_dir():
        missing.append(f"crds/released/{version} is not there: make crd-snapshot")
    if not section(version, repository):
        missing.append(f"CHANGELOG.md has no section '## {version}' with text in it")
    if missing:
        raise NotReleasableError("; ".join(missing))


def section(version: str, repository: Path = REPOSITORY) -> str:
    """What the changelog says of a version; empty where it says nothing."""
    text = (repository / "CHANGELOG.md").read_text()
    found = re.search(rf"^## \[?{re.escape(version)}\b[^\n]*\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return found[1].strip() if found else ""


def notes(version: str, images: list[str], sbom: Path | None, attached: list[Path]) -> str:
    """Compose the notes.

    Raises:
        NotReleasableError: An image is not named by its digest.
    """
    parts = [f"# locus-memory {version}", section(version)]
    if images:
        parts.append("## Images\n\n" + "\n".join(f"    {checked_digest(image)}" for image in images))
    if sbom is not None:
        parts.append(
            f"## What is in the image\n\n{summary(json.loads(sbom.read_text()))}\n\nAll of it is in `{sbom.name}`."
        )
    if attached:
        parts.append("## SHA-256\n\n" + "\n".join(f"    {digest(path)}  {path.name}" for path in attached))
    return "\n\n".join(parts) + "\n"


def checked_digest(image: str) -> str:
    """The name of an image, which must not be able to move."""
    if not re.fullmatch(r"\S+@sha256:[0-9a-f]{64}", image):
        raise NotReleasableError(f"{image}: name the image by its digest, as NAME@sha256:…")
    return image


def digest(path: Path) -> str:
    """The checksum that people compare."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def summary(sbom: dict[str, Any]) -> str:
    """How many components of which kind, and the licences of those that name one."""
    counts = Counter(str(each["purl"]).partition("/")[0] for each in sbom["components"])
    kinds = ", ".join(f"{count} {KINDS.get(kind, kind)}" for kind, count in counts.most_common())
    licences = Counter(name for each in sbom["components"] for name in licence_names(each))
    named = ", ".join(f"{name} ({count})" for name, count in sorted(licences.items()))
    return f"Components: {kinds}.\n\nLicences, where a package names one: {named}."


def licence_names(component: dict[str, Any]) -> list[str]:
    """What a component says of its licence."""
    return [each.get("expression") or each["license"]["name"] for each in component.get("licenses", ())]


if __name__ == "__main__":
    main()
