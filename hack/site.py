"""A hook of mkdocs: files of the repository that pages link to are in the site, and commands can be copied.

Pages are also read where they lie, so they link to `../examples/agent.py`; a site has nothing above itself. And its
button would copy a terminal's prompts and answers along with the commands.
"""

import html
import os
import re
from pathlib import Path
from typing import Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).resolve().parents[1]
PLACE: Final = "source"
"""Directory of the site that they are in."""
_BLOCK = re.compile(r'<div class="highlight"(?=>)(?P<code>.*?</code>)', re.DOTALL)
_PROMPT = '<span class="gp">$ </span>'
_HERE_DOCUMENT = re.compile(r"<<'(?P<end>\w+)'$")
_LINK = re.compile(r"(?<=\]\()(?P<target>(?:\.\./)+[^)#\s]+)(?=\))")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add what the pages link to outside of the documentation's directory."""
    documentation = Path(config.docs_dir)
    for page in list(files.documentation_pages()):
        text = Path(str(page.abs_src_path)).read_text()
        for link in _LINK.finditer(text):
            path = _outside(documentation, page.src_uri, link["target"])
            if path is not None and files.get_file_from_path(f"{PLACE}/{path}") is None:
                files.append(File.generated(config, f"{PLACE}/{path}", content=(ROOT / path).read_bytes()))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead the links to them."""

    def moved(link: re.Match[str]) -> str:
        path = _outside(Path(config.docs_dir), page.file.src_uri, link["target"])
        return link["target"] if path is None else os.path.relpath(f"{PLACE}/{path}", Path(page.file.src_uri).parent)

    return _LINK.sub(moved, markdown)


def on_page_content(content: str, **_: object) -> str:
    """Say to the button what of a terminal was typed."""

    def marked(block: re.Match[str]) -> str:
        if _PROMPT not in block["code"]:
            return block[0]
        shown = html.unescape(re.sub(r"<[^>]+>", "", block["code"].partition("<code>")[2]))
        return f'<div class="highlight" data-copy="{html.escape(commands(shown))}"{block["code"]}'

    return _BLOCK.sub(marked, content)


def commands(shown: str) -> str:
    """Return the commands of a terminal, with their here-documents, and nothing of what they printed."""
    typed = []
    end: str | None = None
    for line in shown.splitlines():
        if end is not None:
            typed.append(line)
            end = None if line == end else end
        elif line.startswith("$ "):
            typed.append(line.removeprefix("$ "))
            document = _HERE_DOCUMENT.search(line)
            end = document["end"] if document else None
    return "\n".join(typed)


def _outside(documentation: Path, page: str, target: str) -> Path | None:
    path = (documentation / page).parent.joinpath(target).resolve()
    return None if path.is_relative_to(documentation.resolve()) or not path.is_file() else path.relative_to(ROOT)
