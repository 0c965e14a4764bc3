"""The SBOM of an environment, and the notes of a release that are made of it."""

import json
import os
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pytest

from hack import release_notes, sbom
from hack.release_notes import NotReleasableError

REPOSITORY = Path(__file__).resolve().parents[2]
STATUS = """\
Package: libssl3
Status: install ok installed
Architecture: amd64
Version: 3.0.17-1~deb12u2
Description: a library
 Version: not this one

Package: gone
Status: deinstall ok config-files
Architecture: all
Version: 1:2.0
"""


@pytest.fixture(scope="module")
def written() -> dict[str, Any]:
    """The SBOM of this environment, by the interpreter alone."""
    command = [sys.executable, str(REPOSITORY / "hack/sbom.py"), "--name", "locus-operator", "--version", "1.2.3"]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
    outputs = {subprocess.run(command, capture_output=True, env=environment, check=True).stdout for _ in range(2)}
    (only,) = outputs  # the same twice
    found: dict[str, Any] = json.loads(only)
    return found


def component(document: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [each for each in document["components"] if each["name"] == name]
    return dict(found)


class TestSbom:
    def test_it_describes_the_release(self, written: dict[str, Any]) -> None:
        assert (written["bomFormat"], written["specVersion"]) == ("CycloneDX", "1.6")
        assert written["metadata"]["component"]["version"] == "1.2.3"
        assert written["metadata"]["timestamp"] == "2023-11-14T22:13:20Z"

    def test_it_lists_every_distribution_once(self, written: dict[str, Any]) -> None:
        listed = [each["purl"] for each in written["components"] if each["purl"].startswith("pkg:pypi/")]
        installed = {sbom.reference(each) for each in distributions()}
        assert set(listed) == installed
        assert len(listed) == len(installed)

    def test_names_are_those_of_the_package_index(self, written: dict[str, Any]) -> None:
        assert component(written, "prometheus_client")["purl"].startswith("pkg:pypi/prometheus-client@")

    def test_licences_are_told(self, written: dict[str, Any]) -> None:
        assert component(written, "locus-memory")["licenses"] == [{"expression": "Apache-2.0"}]

    def test_dependencies_lead_to_components(self, written: dict[str, Any]) -> None:
        references = {each["bom-ref"] for each in written["components"]} | {"locus-operator"}
        edges = {each["ref"]: each["dependsOn"] for each in written["dependencies"]}
        assert set(edges) <= references
        assert {target for targets in edges.values() for target in targets} <= references
        kopf = component(written, "kopf")["bom-ref"]
        assert component(written, "aiohttp")["bom-ref"] in edges[kopf]
        assert kopf in edges[component(written, "locus-memory")["bom-ref"]]

    def test_debian_packages_are_those_that_are_installed(self, tmp_path: Path) -> None:
        status, release = tmp_path / "status", tmp_path / "os-release"
        status.write_text(STATUS)
        release.write_text('ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian"\n')
        (found,) = sbom.debian_packages(status, release)
        assert found["purl"] == "pkg:deb/debian/libssl3@3.0.17-1~deb12u2?arch=amd64&distro=debian-12"
        assert sbom.debian_packages(tmp_path / "none", release) == []


class TestReleaseNotes:
    @pytest.fixture
    def tree(self, tmp_path: Path) -> Path:
        """A tree that is release 1.2.3."""
        (tmp_path / "helm/locus-operator").mkdir(parents=True)
        (tmp_path / "helm/locus-operator/Chart.yaml").write_text('version: 1.2.3\nappVersion: "1.2.3"\n')
        (tmp_path / "crds/released/1.2.3").mkdir(parents=True)
        changes = "# Changelog\n\n## Unreleased\n\n* soon\n\n## 1.2.3 - 2030-01-01\n\n* this\n\n## 1.2.2\n\n* before\n"
        (tmp_path / "CHANGELOG.md").write_text(changes)
        return tmp_path

    def test_a_tree_that_is_ready_passes(self, tree: Path) -> None:
        release_notes.check("1.2.3", tree, "1.2.3")
        assert release_notes.section("1.2.3", tree) == "* this"

    def test_everything_that_is_missing_is_named_at_once(self, tree: Path) -> None:
        with pytest.raises(NotReleasableError) as caught:
            release_notes.check("1.2.4", tree, "1.2.3")
        for words in (
            "_version.py is 1.2.3",
            "version is 1.2.3",
            "appVersion is 1.2.3",
            "released/1.2.4",
            "'## 1.2.4'",
        ):
            assert words in str(caught.value)

    def test_they_hold_changes_digests_and_what_is_in_the_image(self, written: dict[str, Any], tmp_path: Path) -> None:
        listed = tmp_path / "sbom.cdx.json"
        listed.write_text(json.dumps(written))
        image = f"example/locus-operator@sha256:{'0' * 64}"
        text = release_notes.notes("1.2.3", [image], listed, [listed])
        assert f"    {image}\n" in text
        assert "the Python interpreter" in text
        assert "Apache-2.0 (" in text
        assert f"    {release_notes.digest(listed)}  sbom.cdx.json" in text

    def test_an_image_that_can_move_is_refused(self) -> None:
        with pytest.raises(NotReleasableError, match="by its digest"):
            release_notes.notes("1.2.3", ["example/locus-operator:1.2.3"], None, [])
