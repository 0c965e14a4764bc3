"""Durations as users write them: one whole number and one unit, such as `90d`, `12h`, `30m`, `45s`."""

import re
from dataclasses import dataclass
from functools import total_ordering
from typing import Any, Final

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

# Five digits of days are 273 years: far enough for retention, and a date that far back still exists in
# every calendar that computes with it. CEL reads days as hours (see `cel_seconds`), which fits as well.
PATTERN: Final = "^[1-9][0-9]{0,4}[dhms]$"
MAX_LENGTH: Final = 6
HINT: Final = "write a whole number from 1 to 99999 and one unit of d, h, m or s, such as 90d, 12h, 30m or 45s"

_SECONDS: Final = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}


@total_ordering
@dataclass(frozen=True, eq=False)
class Duration:
    """A positive length of time that keeps its spelling; `1d` and `24h` are equal.

    Args:
        text: one whole number from 1 to 99999 and one unit of `d`, `h`, `m`, `s`.

    Raises:
        ValueError: `text` has another form.
    """

    text: str

    def __post_init__(self) -> None:
        if not re.fullmatch(PATTERN.strip("^$"), self.text):
            raise ValueError(f"{self.text!r} is no duration: {HINT}")

    @property
    def seconds(self) -> int:
        """Length in seconds, at least 1."""
        return int(self.text[:-1]) * _SECONDS[self.text[-1]]

    def __str__(self) -> str:
        return self.text

    def __eq__(self, other: object) -> bool:
        return self.seconds == other.seconds if isinstance(other, Duration) else NotImplemented

    def __lt__(self, other: object) -> bool:
        return self.seconds < other.seconds if isinstance(other, Duration) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.seconds)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """A string in YAML and in the CRD, a `Duration` in Python."""
        text = core_schema.custom_error_schema(
            core_schema.str_schema(pattern=PATTERN, min_length=2, max_length=MAX_LENGTH),
            custom_error_type="duration",
            custom_error_message=HINT,
        )
        parsed = core_schema.no_info_after_validator_function(cls, text)
        return core_schema.json_or_python_schema(
            json_schema=parsed,
            python_schema=core_schema.union_schema([core_schema.is_instance_schema(cls), parsed]),
            serialization=core_schema.to_string_ser_schema(),
        )


def cel_seconds(field: str) -> str:
    """CEL that computes the seconds of the duration in `field`, for rules that compare durations.

    CEL's own `duration()` knows no days: they are read as hours and multiplied.
    """
    return f"duration({field}.replace('d', 'h')).getSeconds() * ({field}.endsWith('d') ? 24 : 1)"
