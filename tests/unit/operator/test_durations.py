"""Durations: one number and one unit, compared by length, spelled as written."""

import pytest
from pydantic import BaseModel, ValidationError

from locus_operator.api.duration import Duration


class Model(BaseModel):
    period: Duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1s", 1), ("45s", 45), ("30m", 1_800), ("12h", 43_200), ("90d", 7_776_000), ("99999d", 8_639_913_600)],
)
def test_seconds_of_each_unit(text: str, seconds: int) -> None:
    assert Duration(text).seconds == seconds


@pytest.mark.parametrize(
    "text", ["", "d", "90", "0d", "-1d", "1.5h", "1d12h", "90 d", "90D", "1w", "100000s", "٣d", "90d\n"]
)
def test_other_forms_are_refused_with_examples_of_the_right_one(text: str) -> None:
    with pytest.raises(ValueError, match="such as 90d, 12h, 30m or 45s"):
        Duration(text)
    with pytest.raises(ValidationError, match="such as 90d, 12h, 30m or 45s"):
        Model.model_validate_json(f'{{"period": {text!r}}}'.replace("'", '"'))


def test_durations_compare_by_length_not_by_spelling() -> None:
    assert Duration("24h") == Duration("1d")
    assert hash(Duration("24h")) == hash(Duration("1d"))
    assert Duration("9d") < Duration("10d")
    assert max(Duration("25h"), Duration("1d"), Duration("90m")) == Duration("25h")
    assert Duration("1d") != "1d"


def test_a_model_keeps_the_spelling() -> None:
    assert Model(period=Duration("24h")).model_dump_json() == '{"period":"24h"}'
    assert str(Model.model_validate({"period": "24h"}).period) == "24h"
