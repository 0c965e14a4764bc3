"""Writes docs/settings.md and docs/metrics.md from the operator's code: `python -m hack.operator_reference`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, Final

from prometheus_client import CollectorRegistry
from pydantic.fields import FieldInfo

from locus_operator.settings import Settings
from locus_operator.telemetry import ControllerMetrics, WebhookMetrics

_DOCS: Final = Path(__file__).parents[1] / "docs"

_SETTINGS: Final = """\
<!-- Written by `python -m hack.operator_reference` from locus_operator.settings: change that. -->

# Settings of the operator

Environment variables of `locus-operator controller` and `locus-operator webhook`. What they are for is in
[the operator](operator.md); a value that is out of bounds ends the process at its start, with the name of the variable.

| Variable | Default | Bounds | |
|---|---|---|---|
"""

_METRICS: Final = """\
<!-- Written by `python -m hack.operator_reference` from locus_operator.telemetry: change that. -->

# Metrics of the operator

`/metrics` over plain HTTP, in the text format of Prometheus, beside `/healthz` and `/readyz`: on the controller's
`LOCUS_OPERATOR_HEALTH_PORT` (8080), and on the webhook's `LOCUS_OPERATOR_WEBHOOK_HEALTH_PORT` (8081). What the chart
alerts on, and what to do then, is in [alerts](alerts.md). No label holds a name of a store, thread or person.
"""

_SETTING = re.compile(r"^    (\w+): ")


def settings_page() -> str:
    """Return docs/settings.md as it should be."""
    described = _attributes(Settings)
    return _SETTINGS + "".join(
        f"| `LOCUS_OPERATOR_{name.upper()}` | {_default(field)} | {_bounds(field)} | {described[name]} |\n"
        for name, field in Settings.model_fields.items()
    )


def metrics_page() -> str:
    """Return docs/metrics.md as it should be."""
    controller = ControllerMetrics(dict).registry
    parts = [_METRICS]
    for title, registry in (("Controller", controller), ("Webhook", WebhookMetrics().registry)):
        parts.append(f"\n## {title}\n\n| Metric | Type | Labels | |\n|---|---|---|---|\n")
        parts += _metrics(registry)
    return "".join(parts)


def _metrics(registry: CollectorRegistry) -> Iterator[str]:
    # The registry shows labels only of what has been counted: the collectors know them before.
    for collector in registry._collector_to_names:
        labels = getattr(collector, "_labelnames", None)
        for family in collector.collect():
            name = family.name + ("_total" if family.type == "counter" else "")
            names = labels if labels is not None else getattr(family, "_labelnames", ())
            shown = ", ".join(f"`{label}`" for label in names)
            yield f"| `{name}` | {family.type} | {shown} | {family.documentation} |\n"


def _attributes(owner: type) -> dict[str, str]:
    """Read the descriptions of the attributes from a docstring of Google's style."""
    _, _, section = (inspect.getdoc(owner) or "").partition("Attributes:\n")
    found: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        if (head := _SETTING.match(line)) is not None:
            name = head[1]
            found[name] = line[head.end() :]
        elif line.strip():
            found[name] += f" {line.strip()}"
    return found


def _default(field: FieldInfo) -> str:
    value: Any = field.default
    if isinstance(value, Enum):
        value = value.value
    if value in ("", ()):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _bounds(field: FieldInfo) -> str:
    signs = {"gt": "> ", "ge": "≥ ", "lt": "< ", "le": "≤ "}
    limits = [
        (sign, getattr(each, name)) for each in field.metadata for name, sign in signs.items() if hasattr(each, name)
    ]
    return ", ".join(f"{sign}{limit:,}" for sign, limit in limits)


PAGES: Final = {_DOCS / "settings.md": settings_page, _DOCS / "metrics.md": metrics_page}
"""What writes each page."""


if __name__ == "__main__":
    for path, page in PAGES.items():
        path.write_text(page())
