"""Writes an SBOM of the environment that runs it: CycloneDX 1.6, JSON, on standard output.

The image's build runs it with the image's own interpreter, so it uses the standard library alone. It names the
distributions of that environment, the interpreter, and the Debian packages below. The same environment gives the same
text, with `SOURCE_DATE_EPOCH` the same time as well. https://cyclonedx.org/docs/1.6/json/
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import sys
import uuid
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

DPKG_STATUS: Final = Path("/var/lib/dpkg/status")
OS_RELEASE: Final = Path("/etc/os-release")
OWN_DISTRIBUTION: Final = "locus-memory"

Component = dict[str, Any]


def main() -> None:
    """Print the SBOM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="what is described")
    parser.add_argument("--version", default="", help=f"its version; by default that of {OWN_DISTRIBUTION}")
    arguments = parser.parse_args()
    found = sorted(distributions(), key=lambda each: normalised(each.name))
    version = arguments.version or next(each.version for each in found if each.name == OWN_DISTRIBUTION)
    text = json.dumps(document(arguments.name, version, found, debian_packages()), indent=1, sort_keys=True)
    sys.stdout.write(text + "\n")


def document(name: str, version: str, found: list[Distribution], packages: list[Component]) -> dict[str, Any]:
    """Build the whole document."""
    subject = {"type": "application", "bom-ref": name, "name": name, "version": version}
    components = [*(python_component(each) for each in found), interpreter(), *packages]
    created = datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH") or 0), UTC)
    digest = hashlib.sha256(json.dumps([subject, components], sort_keys=True).encode()).hexdigest()
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.UUID(digest[:32], version=4)}",
        "version": 1,
        "metadata": {"timestamp": created.strftime("%Y-%m-%dT%H:%M:%SZ"), "component": subject},
        "components": components,
        "dependencies": [
            {"ref": name, "dependsOn": [each["bom-ref"] for each in components]},
            *dependencies(found),
        ],
    }


def python_component(distribution: Distribution) -> Component:
    """Describe one installed distribution."""
    return {
        "type": "library",
        "bom-ref": reference(distribution),
        "name": distribution.name,
        "version": distribution.version,
        "purl": reference(distribution),
        **licenses(distribution),
    }


def reference(distribution: Distribution) -> str:
    """Its package URL: https://github.com/package-url/purl-spec."""
    return f"pkg:pypi/{normalised(distribution.name)}@{quote(distribution.version, safe='')}"


def normalised(name: str) -> str:
    """The name by which PyPI knows it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def licenses(distribution: Distribution) -> dict[str, Any]:
    """What its metadata says: an SPDX expression, else the names in its classifiers, else nothing."""
    if expressions := distribution.metadata.get_all("License-Expression"):
        return {"licenses": [{"expression": expressions[0]}]}
    classifiers = distribution.metadata.get_all("Classifier") or []
    names = [each.rpartition(" :: ")[2] for each in classifiers if each.startswith("License :: ")]
    return {"licenses": [{"license": {"name": each}} for each in names]} if names else {}


def dependencies(found: Iterable[Distribution]) -> Iterator[dict[str, Any]]:
    """Who requires whom, of what is installed; extras count, since somebody has asked for what is there."""
    installed = {normalised(each.name): reference(each) for each in found}
    for name, own in installed.items():
        [distribution] = [each for each in found if normalised(each.name) == name]
        wanted = {normalised(re.split(r"[^\w.-]", each, maxsplit=1)[0]) for each in distribution.requires or ()}
        yield {"ref": own, "dependsOn": sorted(installed[each] for each in wanted & installed.keys() - {name})}


def interpreter() -> Component:
    """The Python that runs this: images have one that no package manager knows."""
    purl = f"pkg:generic/python@{platform.python_version()}"
    return {
        "type": "application",
        "bom-ref": purl,
        "name": "python",
        "version": platform.python_version(),
        "purl": purl,
    }


def debian_packages(status: Path = DPKG_STATUS, os_release: Path = OS_RELEASE) -> list[Component]:
    """The packages that dpkg has installed; none where there is no dpkg."""
    if not status.exists():
        return []
    system = dict(line.split("=", 1) for line in os_release.read_text().splitlines() if "=" in line)
    distro = f"{system['ID']}-{system.get('VERSION_ID', '')}".replace('"', "")
    found = []
    for stanza in status.read_text(encoding="utf-8").split("\n\n"):
        entry = dict(re.findall(r"^([\w-]+): (.*)$", stanza, re.MULTILINE))
        if entry.get("Status") != "install ok installed":
            continue
        name, version, architecture = entry["Package"], entry["Version"], entry["Architecture"]
        purl = f"pkg:deb/debian/{name}@{quote(version, safe='')}?arch={architecture}&distro={distro}"
        found.append({"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl})
    return sorted(found, key=lambda each: str(each["purl"]))


if __name__ == "__main__":
    main()
