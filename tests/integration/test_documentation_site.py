"""The documentation builds into a site without a warning, and the site is whole without a network."""

import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from tests.e2e.console import commands

ROOT = Path(__file__).parents[2]
IMAGES = sorted((ROOT / "docs/images").glob("*.svg"))
KINDS = ("Tutorial", "How to", "Reference", "Explanation", "Security")
LARGEST_IMAGE = 8_000
# Nobody listens there: whatever wants the network while it builds fails.
NO_NETWORK = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")


def build(configuration: Path, site: Path) -> subprocess.CompletedProcess[str]:
    # Not with `--quiet`, which keeps `--strict` from seeing any warning.
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", f"--config-file={configuration}"]
    return subprocess.run(
        [*command, f"--site-dir={site}"],
        env={**os.environ, **NO_NETWORK, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("site")
    done = build(ROOT / "mkdocs.yml", directory)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return directory


class Resources(HTMLParser):
    """Collects what a browser loads by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        if tag in ("script", "img", "iframe", "source", "video", "audio"):
            self.found.append(values.get("src") or "")
        if tag == "link" and values.get("rel") not in ("canonical", "next", "prev", "edit"):
            self.found.append(values.get("href") or "")


class Copied(HTMLParser):
    """Collects what the button copies in place of the text."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found += [text for name, text in attributes if name == "data-copy" and text]


def loaded(site: Path) -> Iterator[str]:
    for page in site.rglob("*.html"):
        parser = Resources()
        parser.feed(page.read_text())
        yield from parser.found
    for sheet in site.rglob("*.css"):
        yield from re.findall(r"(?:@import|url\()\s*[\"']?([^\"')]+)", sheet.read_text())


class TestSite:
    def test_every_page_is_in_it(self, site: Path) -> None:
        for page in (ROOT / "docs").rglob("*.md"):
            path = page.relative_to(ROOT / "docs").with_suffix("")
            built = path.parent if path.name in ("index", "README") else path
            assert (site / built / "index.html").exists(), page

    def test_pages_load_nothing_from_elsewhere(self, site: Path) -> None:
        resources = set(loaded(site))
        assert any(each.endswith(".js") for each in resources)
        assert [each for each in resources if re.match(r"(?:https?:)?//", each)] == []

    def test_files_of_the_repository_that_pages_link_to_are_in_it(self, site: Path) -> None:
        page = (site / "own-checkpointer/index.html").read_text()
        (link,) = set(re.findall(r'href="([^"]*/own_checkpointer\.py)"', page))
        linked = (site / "own-checkpointer" / link).resolve()
        assert linked.read_bytes() == (ROOT / "examples/own_checkpointer.py").read_bytes()

    def test_the_button_copies_what_is_typed_and_no_answers(self, site: Path) -> None:
        copied = Copied()
        copied.feed((site / "tutorial/index.html").read_text())
        typed = [each.text for each in commands((ROOT / "docs/tutorial.md").read_text()) if each.text != "^C"]
        assert "\n".join(copied.found) == "\n".join(typed)

    def test_each_page_is_in_the_navigation_once(self) -> None:
        text = (ROOT / "mkdocs.yml").read_text().partition("\nnav:\n")[2]
        pages = re.findall(r"\S+\.md$", text, re.MULTILINE)
        assert sorted(pages) == sorted(str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md"))

    def test_its_parts_are_the_four_kinds_of_documentation_and_security(self) -> None:
        navigation = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
        assert [next(iter(part)) for part in navigation if isinstance(part, dict)] == list(KINDS)

    @pytest.mark.parametrize(
        ("change", "complaint"),
        [
            ("[a page](nowhere.md)", "nowhere.md"),
            ("[a heading](index.md#nowhere)", "#nowhere"),
            ("[a file](../examples/nowhere.py)", "nowhere.py"),
            ("![a picture](images/nowhere.svg)", "nowhere.svg"),
        ],
    )
    def test_a_page_that_leads_nowhere_is_refused(self, tmp_path: Path, change: str, complaint: str) -> None:
        self.copy(tmp_path, {"index.md": f"# Start\n\n{change}\n"}, ["index.md"])
        done = build(tmp_path / "mkdocs.yml", tmp_path / "site")
        assert done.returncode != 0
        assert complaint in done.stderr

    def test_a_page_that_no_part_leads_to_is_refused(self, tmp_path: Path) -> None:
        self.copy(tmp_path, {"index.md": "# Start\n", "lost.md": "# Lost\n"}, ["index.md"])
        done = build(tmp_path / "mkdocs.yml", tmp_path / "site")
        assert done.returncode != 0
        assert "lost.md" in done.stderr

    @staticmethod
    def copy(directory: Path, pages: dict[str, str], navigation: list[str]) -> None:
        """Make a small site with the configuration of the real one."""
        configuration = yaml.safe_load((ROOT / "mkdocs.yml").read_text()) | {"nav": navigation}
        (directory / "mkdocs.yml").write_text(yaml.safe_dump(configuration))
        (directory / "hack").mkdir()
        shutil.copy(ROOT / "hack/site.py", directory / "hack")
        for name, text in pages.items():
            path = directory / "docs" / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: str(image.name))
class TestImages:
    def test_it_is_small_and_says_what_it_shows(self, image: Path) -> None:
        assert image.stat().st_size < LARGEST_IMAGE
        title = ET.parse(image).find("{http://www.w3.org/2000/svg}title")  # noqa: S314 - our own file
        assert title is not None
        assert title.text

    def test_it_has_a_ground_of_its_own_so_that_it_is_readable_on_dark_pages(self, image: Path) -> None:
        root = ET.parse(image).getroot()  # noqa: S314 - our own file
        _, _, width, height = root.attrib["viewBox"].split()
        grounds = [each.attrib for each in root.iter("{http://www.w3.org/2000/svg}rect") if "x" not in each.attrib]
        assert [(each["width"], each["height"]) for each in grounds] == [(width, height)]

    def test_it_loads_nothing(self, image: Path) -> None:
        assert re.findall(r"<script|<image|@import|href=", image.read_text()) == []
