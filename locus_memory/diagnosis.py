"""What a backend says about itself, for `locus-memory doctor`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from pydantic import JsonValue


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a person should know.

    Attributes:
        level: An error means that agents cannot work with the store; a warning, that they may lose data or privacy.
        code: Stable name for programs, such as `postgresql-no-tls`.
        message: One sentence on what was found, without secrets.
        advice: What to do about it; empty where there is nothing to do.
    """

    level: Level
    code: str
    message: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Facts about a backend as it runs now, and what follows from them.

    Attributes:
        facts: By name, in the order to show them; no secrets.
        findings: In any order.
    """

    facts: Mapping[str, JsonValue] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
