"""Snippets that no test types: Python names things that there are, manifests are valid, commands know their options."""

import ast
import importlib
import inspect
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

import locus_memory.cli
import locus_operator.cli
from locus_memory.adapter import AdapterOptions
from locus_memory.store_face import StoreOptions
from locus_operator.api import InvalidSpecError, parse_store, parse_store_class

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "helm/locus-operator/README.md"])
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
PARSERS = {"CheckpointStore": parse_store, "CheckpointStoreClass": parse_store_class}
PROGRAMS = {"locus-memory": locus_memory.cli.app, "locus-operator": locus_operator.cli.app}
OPTIONS = (AdapterOptions, StoreOptions)
OURS = ("locus_memory", "locus_operator")

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def blocks(text: str, language: str) -> Iterator[str]:
    """The fenced blocks of a language."""
    yield from re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def keywords(called: Any) -> Iterator[str]:
    """The names of the arguments that something of ours takes."""
    for each in inspect.signature(called).parameters.values():
        if each.kind is inspect.Parameter.VAR_KEYWORD:
            (options,) = [known for known in OPTIONS if each.annotation == f"Unpack[{known.__name__}]"]
            yield from options.__annotations__
        else:
            yield each.name


class Names(ast.NodeVisitor):
    """Finds what a snippet takes from our packages, and what it passes to it, that there is not."""

    def __init__(self, known: dict[str, Any]) -> None:
        self.known = known
        self.wrong: list[str] = []

    def visit_Import(self, node: ast.Import) -> None:
        for each in node.names:
            if each.name.partition(".")[0] in OURS:
                importlib.import_module(each.name)
                self.known[each.name.partition(".")[0]] = importlib.import_module(each.name.partition(".")[0])

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.module and node.module.partition(".")[0] in OURS:
            module = importlib.import_module(node.module)
            for each in node.names:
                if hasattr(module, each.name):
                    self.known[each.asname or each.name] = getattr(module, each.name)
                else:
                    self.wrong.append(f"{node.module} has no {each.name}")

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        called = self._resolved(node.func)
        if called is None:
            return
        names = set(keywords(called))
        self.wrong += [f"{called.__name__} takes no {each.arg}" for each in node.keywords if each.arg not in names]

    def _resolved(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Name):
            return self.known.get(node.id)
        if isinstance(node, ast.Attribute) and (owner := self._resolved(node.value)) is not None:
            if not hasattr(owner, node.attr):
                self.wrong.append(f"{ast.unparse(node.value)} has no {node.attr}")
            return getattr(owner, node.attr, None)
        return None


def wrong_names(text: str) -> list[str]:
    """What a page's Python gets wrong; its snippets follow each other."""
    names = Names({})
    for block in blocks(text, "python"):
        # Pages write `await` where a coroutine would stand around it.
        names.visit(compile(block, "page", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT))
    return names.wrong


def wrong_manifests(text: str) -> list[str]:
    """Our objects in a page's YAML that the operator would refuse."""
    wrong = []
    for block in blocks(text, "yaml"):
        for document in yaml.safe_load_all(block):
            try:
                if parse := PARSERS.get(document.get("kind")):
                    parse(document)
            except InvalidSpecError as error:
                wrong.append(str(error))
    return wrong


def wrong_commands(text: str) -> list[str]:
    """Commands of a page that our programs, or make, do not have, or whose options they do not have."""
    wrong = []
    for line in re.findall(r"^(?:    (?=\S)|\$ )(.*)$", text.replace("\\\n", " "), re.MULTILINE):
        for command in re.split(r"\s(?:&&|\||>|--|#)\s", f"{line} "):
            program = command.partition(" ")[0]
            if program == "make":
                wrong += [each for each in command.split()[1:2] if each not in TARGETS]
            if program in PROGRAMS:
                wrong += unknown(*shlex.split(command))
    return wrong


def unknown(program: str, name: str, *arguments: str) -> Iterator[str]:
    """The command, or those of its options, that a program does not have."""
    commands: dict[str, Any] = typer.main.get_command(PROGRAMS[program]).commands  # type: ignore[attr-defined]
    if name not in commands:
        yield f"{program} {name}"
        return
    options = {option for each in commands[name].params for option in (*each.opts, *each.secondary_opts)}
    for each in arguments:
        if each.startswith("-") and each != "-" and each.partition("=")[0] not in options:
            yield f"{program} {name} {each}"


@each_page
def test_python_names_what_there_is(page: Path) -> None:
    assert wrong_names(page.read_text()) == []


@each_page
def test_manifests_are_taken(page: Path) -> None:
    assert wrong_manifests(page.read_text()) == []


@each_page
def test_commands_and_options_exist(page: Path) -> None:
    assert wrong_commands(page.read_text()) == []


class TestMistakes:
    """What is wrong is found."""

    @pytest.mark.parametrize(
        "line",
        [
            "from locus_memory.backends import CassandraCheckpointer",
            "import locus_memory\nlocus_memory.checkpoint()",
            "from locus_memory.backends import FileCheckpointer\nFileCheckpointer(folder=1)",
        ],
    )
    def test_in_python(self, line: str) -> None:
        assert len(wrong_names(f"```python\n{line}\n```\n")) == 1

    def test_in_a_manifest(self) -> None:
        store = "kind: CheckpointStore\nmetadata: {name: a, namespace: b}\nspec: {backend: {postgres: {}}}\n"
        assert len(wrong_manifests(f"```yaml\napiVersion: memory.locus.dev/v1alpha1\n{store}```\n")) == 1

    @pytest.mark.parametrize(
        "line",
        [
            "    make presentation",
            "$ locus-memory thread",
            "    locus-operator plan --file store.yaml",
            "    kubectl exec deploy/agent -- locus-memory docter",
            "    locus-memory export - --gzip | zstd > file",
            "    helm version && locus-operator \\\n      apply --force",
        ],
    )
    def test_in_a_command(self, line: str) -> None:
        assert len(wrong_commands(f"{line}\n")) == 1
