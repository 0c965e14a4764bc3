"""Writes docs/command-line.md from the commands themselves: `python -m hack.command_line`."""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Union, get_args, get_origin

import typer
from pydantic import BaseModel, JsonValue

from locus_memory.cli import app
from locus_memory.commands.documents import DOCUMENTS, ErrorDocument
from locus_memory.commands.exit_codes import MEANINGS

PAGE: Final = Path(__file__).parents[1] / "docs/command-line.md"

_HEAD: Final = """\
<!-- Written by `python -m hack.command_line` from the commands themselves: change those. -->

# `locus-memory`: the command line

    pip install "locus-memory[cli,postgresql]"    # and the extra of any other backend; `server` for `serve`

All commands but `serve` and `migrate` work on the store that is bound to the process, as an agent's checkpointer does
([library.md](library.md)); `--store` names one of several, `--url` another one. Where a command takes a URL, it takes

* a URL, as in [library.md](library.md); other users of the machine can read it among the arguments, so one with a
  password belongs into one of the others,
* `@FILE`, a file that holds the URL,
* `env:VARIABLE`, an environment variable that holds it,
* `store:NAME`, a store that is bound below `SERVICE_BINDING_ROOT`.

Text is for people; with `--json` a command prints one JSON document on standard output and nothing else, errors
included. Progress bars are on standard error, and only on a terminal. No command prints a password, and text out of
conversations cannot control the terminal. Ctrl-C and SIGTERM leave things whole.

[on-call.md](on-call.md) says which command answers which question.
"""


def page() -> str:
    """Return the page as it should be."""
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # an app of several is a group
    parts = [_HEAD, _exit_codes(), _errors()]
    parts += [_command(name, command) for name, command in commands.items()]
    return "\n".join(parts)


def _exit_codes() -> str:
    rows = (f"| {code.value} | {meaning} |" for code, meaning in MEANINGS.items())
    return "\n".join(["## Exit codes", "", "| Code | Means |", "|---|---|", *rows, ""])


def _errors() -> str:
    return "\n".join(["## Errors as JSON", "", *_document(ErrorDocument)])


def _command(name: str, command: Any) -> str:
    lines = [f"## `locus-memory {name}`", "", inspect.cleandoc(command.help), ""]
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    options = [each for each in command.params if each.param_type_name == "option" and each.name != "help"]
    if arguments:
        lines += ["| Argument | |", "|---|---|", *map(_argument, arguments), ""]
    lines += ["| Option | | Default |", "|---|---|---|", *map(_option, options), ""]
    for document in DOCUMENTS.get(name, ()):
        lines += _document(document)
    return "\n".join(lines)


def _argument(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    return f"| `{name if argument.required else f'[{name}]'}` | {argument.help} |"


def _option(option: Any) -> str:
    names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
    default = option.default
    if option.required:
        shown = "required"
    elif default is None or default is False or default == "":
        shown = ""
    else:
        shown = f"`{getattr(default, 'value', default)}`"
    return f"| {names} | {option.help} | {shown} |"


def _document(document: type[BaseModel]) -> list[str]:
    return [_first_words(document), "", "```", *_shape(document, ""), "```", ""]


def _first_words(document: type[BaseModel]) -> str:
    text = " ".join(inspect.getdoc(document).split())  # type: ignore[union-attr]  # each has one
    return f"With `--json`, the document of {text.removeprefix('Of ')}"


def _shape(annotation: Any, indent: str) -> Iterator[str]:
    """Write an annotation as JSON with types in the place of values."""
    first, *rest = list(_lines(annotation, indent))
    yield indent + first
    yield from rest


def _lines(annotation: Any, indent: str) -> Iterator[str]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield "{"
        for name, field in annotation.model_fields.items():
            first, *rest = list(_lines(field.annotation, indent + "  "))
            yield f'{indent}  "{name}": {first}'
            yield from rest
        yield indent + "}"
    elif get_origin(annotation) is list:
        *before, last = list(_lines(get_args(annotation)[0], indent))
        lines = [*before, f"{last}, …]"]
        yield "[" + lines[0]
        yield from lines[1:]
    elif get_origin(annotation) in (Union, types.UnionType):
        *before, last = list(_lines(get_args(annotation)[0], indent))
        yield from before
        yield f"{last} or null"
    elif get_origin(annotation) is dict:
        yield f"{{name: {_named(get_args(annotation)[1])}, …}}"
    else:
        yield _named(annotation)


def _named(annotation: Any) -> str:
    names = {str: "text", int: "number", float: "number", bool: "true or false", datetime: "time"}
    return "any JSON" if annotation is JsonValue else names[annotation]


if __name__ == "__main__":
    PAGE.write_text(page())
