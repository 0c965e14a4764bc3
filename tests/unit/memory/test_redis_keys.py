"""Key names of the Redis backend."""

import json

from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from locus_memory.backends.redis_keys import KeyLayout, decode, encode

TEXT = st.text(st.characters(exclude_categories=["Cs"])) | st.text(alphabet="a:/%{}=|#*\0~.")
VALUES = st.none() | st.booleans() | st.integers() | TEXT | st.lists(TEXT, max_size=3)


@given(TEXT)
def test_encoding_is_undone_by_decoding_and_uses_no_separator(text: str) -> None:
    encoded = encode(text)
    assert decode(encoded) == text
    assert not set(encoded) & set(":|{}=#\n \0*")


@given(st.tuples(TEXT, VALUES), st.tuples(TEXT, VALUES))
def test_two_fields_and_values_never_share_an_index(one: tuple[str, JsonValue], other: tuple[str, JsonValue]) -> None:
    layout = KeyLayout("p:")
    same = json.dumps(one) == json.dumps(other)
    assert (layout.metadata(*one) == layout.metadata(*other)) == same


@given(TEXT, VALUES)
def test_index_keys_are_short_and_below_the_data_prefixes(field: str, value: JsonValue) -> None:
    layout = KeyLayout("p:")
    key = layout.metadata(field, value)
    assert len(key) < 300
    assert key.startswith(layout.data_prefixes)
    assert key not in (layout.threads, layout.expiry)


def test_the_claim_is_out_of_the_reach_of_agents() -> None:
    layout = KeyLayout("p:")
    assert layout.claim.startswith("p:")
    assert not layout.claim.startswith(layout.data_prefixes)


@given(TEXT, TEXT)
def test_a_long_value_is_not_confused_with_a_hash(field: str, value: str) -> None:
    layout = KeyLayout("p:")
    long = layout.metadata("f" * 300, value)
    assert layout.metadata(long.removeprefix("p:i:m:"), value) != long
    assert layout.metadata(field, "v" * 300) != layout.metadata(field, "v" * 301)
