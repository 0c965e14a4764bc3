"""Writes docs/reference.md from the docstrings of what users call: `python -m hack.reference`."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

PAGE: Final = Path(__file__).parents[1] / "docs/reference.md"

MODULES: Final[dict[str, tuple[str, ...]]] = {
    "locus_memory": ("checkpointer", "store"),
    "locus_memory.checkpointer": ("BaseCheckpointer", "CheckpointerCapabilities"),
    "locus_memory.backends": (
        "MemoryCheckpointer",
        "FileCheckpointer",
        "redis_checkpointer",
        "postgresql_checkpointer",
        "opensearch_checkpointer",
        "oracle_checkpointer",
        "OracleCheckpointSaver",
        "OCIBucketBackend",
        "HTTPCheckpointer",
    ),
    "locus_memory.adapter": ("AdapterOptions",),
    "locus_memory.retry": ("RetryPolicy",),
    "locus_memory.saver": ("CheckpointSaver",),
    "locus_memory.langgraph": ("saver", "LangGraphSaver", "store"),
    "locus_memory.store": ("BaseStore", "InMemoryStore"),
    "locus_memory.store_backends": ("PostgreSQLStore", "RedisStore", "OracleStore"),
    "locus_memory.manager": ("LLMMemoryManager",),
    "locus_memory.storage": (
        "StorageBackend",
        "NewCheckpoint",
        "StoredCheckpoint",
        "CheckpointSummary",
        "PendingWrite",
    ),
    "locus_memory.testing": ("CheckpointerContract", "StorageBackendContract", "StoreContract"),
}
"""What has a place on the page, by module; the errors are in docs/library.md."""

_HEAD: Final = """\
<!-- Written by `python -m hack.reference` from the docstrings: change those. -->

# Reference

What users call, by module. Errors are in [library.md](library.md#errors); the command line has [its own
page](command-line.md).
"""

_SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Yields):$")
_ENTRY = re.compile(r"^    (\*{0,2}[\w, `.]+): (.*)$")


def page() -> str:
    """Return the page as it should be."""
    parts = [_HEAD]
    for name, members in MODULES.items():
        module = importlib.import_module(name)
        parts.append(f"## `{name}`\n")
        parts += [_member(member, getattr(module, member)) for member in members]
    return "\n".join(parts)


def _member(name: str, member: Any) -> str:
    lines = [f"### `{name}`", "", *_signature(name, member), *_documentation(member)]
    if inspect.isclass(member):
        for method_name, method in _methods(member):
            lines += [f"#### `{name}.{method_name}`", "", *_signature(method_name, method), *_documentation(method)]
    return "\n".join(lines)


def _methods(owner: type) -> Iterator[tuple[str, Any]]:
    for name, method in vars(owner).items():
        if name.startswith(("_", "test_", "model_")) or not inspect.getdoc(getattr(owner, name)):
            continue
        if inspect.isroutine(method) or isinstance(method, property):
            yield name, method.fget if isinstance(method, property) else getattr(owner, name)


def _signature(name: str, member: Any) -> list[str]:
    if not callable(member) or dataclasses.is_dataclass(member) or _is_typed_dict(member):
        return []
    prefix = "async " if inspect.iscoroutinefunction(member) else ""
    signature = inspect.signature(member)
    parameters = list(_parameters(signature))
    returned = signature.return_annotation
    arrow = "" if inspect.isclass(member) or returned is signature.empty else f" -> {_shown(returned)}"
    line = f"{prefix}{name}({', '.join(parameters)}){arrow}"
    if len(line) > 110:
        line = f"{prefix}{name}(\n    " + ",\n    ".join(parameters) + f",\n){arrow}"
    return ["```text", line, "```", ""]


def _parameters(signature: inspect.Signature) -> Iterator[str]:
    marked = False
    for parameter in signature.parameters.values():
        if parameter.name == "self":
            continue
        if parameter.kind is parameter.VAR_POSITIONAL:
            marked = True
        if parameter.kind is parameter.KEYWORD_ONLY and not marked:
            marked = True
            yield "*"
        yield _parameter(parameter)


def _parameter(parameter: inspect.Parameter) -> str:
    stars: dict[object, str] = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    star = stars.get(parameter.kind, "")
    kind = "" if parameter.annotation is parameter.empty else f": {_shown(parameter.annotation)}"
    default = "" if parameter.default is parameter.empty else f" = {_shown(parameter.default)}"
    return f"{star}{parameter.name}{kind}{default}"


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else getattr(value, "__name__", None) or repr(value)
    # Addresses in memory would make another page of each run.
    return repr(value) if isinstance(value, str) and value == "" else re.sub(r" at 0x[0-9a-f]+", "", str(text))


def _is_typed_dict(member: Any) -> bool:
    return isinstance(member, type) and issubclass(member, dict) and hasattr(member, "__total__")


def _documentation(member: Any) -> list[str]:
    lines, section = [], None
    for line in (inspect.getdoc(member) or "").splitlines():
        if _SECTION.match(line):
            section = line.rstrip(":")
            lines.append(f"*{section}*")
            lines.append("")
        elif section and (entry := _ENTRY.match(line)):
            lines.append(f"* `{entry[1]}`: {entry[2]}" if "`" not in entry[1] else f"* {entry[1]}: {entry[2]}")
        elif section and line.startswith("    "):
            lines.append(f"  {line.strip()}")
        else:
            section = None if line.strip() else section
            lines.append(line)
    return [*lines, ""]


if __name__ == "__main__":
    PAGE.write_text(page())
