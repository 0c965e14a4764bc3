"""When metadata match."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from locus_memory.metadata import canonical, matches

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.sampled_from(["", "a", "1", "true", "null", "a,b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=6,
)


@given(VALUES, VALUES)
def test_equal_values_and_no_others_have_the_same_text(one: JsonValue, other: JsonValue) -> None:
    # JSON text tells `true` from `1`, which Python's equality does not.
    equal = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (canonical(one) == canonical(other)) == equal


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (1, 1.0, True),
        ([1.0], [1], True),
        ({"a": 2.0}, {"a": 2}, True),
        (0.1, 0.1, True),
        (True, 1, False),
        (False, 0, False),
        ("1", 1, False),
        (None, "null", False),
        (1e300, 10**300, False),
        (-0.0, 0, True),
    ],
)
def test_numbers_are_equal_by_value_and_never_equal_booleans(one: JsonValue, other: JsonValue, equal: bool) -> None:
    assert (canonical(one) == canonical(other)) is equal


def test_a_field_matches_what_it_equals_or_contains() -> None:
    metadata: dict[str, JsonValue] = {"tags": ["a", ["b"]], "n": 1, "none": None}
    assert matches(metadata, "tags", "a")
    assert matches(metadata, "tags", ["b"])
    assert matches(metadata, "tags", ["a", ["b"]])
    assert matches(metadata, "none", None)
    assert not matches(metadata, "tags", "b")
    assert not matches(metadata, "tags", ["a"])
    assert not matches(metadata, "n", True)
    assert not matches(metadata, "missing", None)
