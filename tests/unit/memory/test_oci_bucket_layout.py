"""Names of objects: injective, in order, short enough."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locus_memory.backends.oci_bucket_layout import (
    LONGEST,
    MAX_PREFIX_BYTES,
    Layout,
    escape,
    new_incarnation,
    new_page,
    new_payload,
    unescape,
)
from locus_memory.errors import BindingError

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
CLOSE_TEXTS = st.text(st.sampled_from("\0!-./09:@AZ[_`az~\x7fé\uffff🎉"), min_size=1, max_size=4)


@given(TEXTS | CLOSE_TEXTS)
def test_an_escaped_text_is_read_back(text: str) -> None:
    assert unescape(escape(text)) == text


@given(TEXTS | CLOSE_TEXTS, TEXTS | CLOSE_TEXTS)
def test_names_sort_as_the_bytes_of_texts(one: str, other: str) -> None:
    assert (escape(one) < escape(other)) == (one.encode() < other.encode())


@given(TEXTS)
def test_a_name_needs_no_quoting_in_a_url_and_no_segment_of_it_has_a_meaning(text: str) -> None:
    assert all(char.isascii() and (char.isalnum() or char in "-!.=_~") for char in escape(text))
    assert escape(text).strip(".")


@pytest.mark.parametrize("name", ["a b", "!", "~zz", "~c3", ".2E", "a/b", "=41", ""])
def test_a_name_that_nobody_wrote_is_no_thread(name: str) -> None:
    assert unescape(name) in (None, "")


@given(TEXTS.map(lambda text: (text * 1024)[:1024].encode()[:1024].decode(errors="ignore")), CLOSE_TEXTS)
def test_a_name_has_at_most_1024_bytes_with_the_longest_prefix_and_id(long: str, short: str) -> None:
    layout = Layout("é" * (MAX_PREFIX_BYTES // 2 - 1))
    for thread_id in (long, short):
        incarnation = new_incarnation()
        names = [
            layout.head(thread_id),
            layout.data_of(thread_id) + new_payload(incarnation, 10**11),
            layout.data_of(thread_id) + new_page(incarnation),
        ]
        assert all(len(name.encode()) <= 1024 for name in names)


@given(st.sampled_from("aé\0"), st.integers(0, 3), TEXTS, TEXTS)
def test_long_ids_sort_rightly_but_for_those_that_share_their_beginning(
    char: str, missing: int, one: str, other: str
) -> None:
    layout, common = Layout(""), char * (LONGEST // len(escape(char)) - missing)
    ids = [common + one, common + other, common]
    for first in ids:
        for second in ids:
            names = layout.head(first), layout.head(second)
            shared = layout.shared_part(names[0])
            assert (names[0] == names[1]) == (first == second)
            if shared is None or shared != layout.shared_part(names[1]):
                assert (names[0] < names[1]) == (first.encode() < second.encode())


def test_a_short_name_tells_the_thread_and_a_long_one_does_not() -> None:
    layout = Layout("prod")
    assert layout.head("user/c42") == "prod/threads/user.2fc42"
    assert layout.thread_of(layout.head("user/c42")) == "user/c42"
    assert layout.thread_of(layout.head("x" * 1000)) is None
    assert layout.shared_part(layout.head("user/c42")) is None


def test_a_later_checkpoint_sorts_before_an_earlier_one() -> None:
    names = [new_payload("life", sequence) for sequence in (0, 9, 10, 99, 1000, 10**9)]
    assert sorted(names) == names[::-1]


@pytest.mark.parametrize("prefix", ["/a", "a//b", "a/../b", ".", "./", "a\nb", "é" * 128 + "x"])
def test_a_prefix_that_would_not_arrive_as_it_is_is_refused(prefix: str) -> None:
    with pytest.raises(BindingError, match="prefix"):
        Layout(prefix)


@pytest.mark.parametrize(("prefix", "heads"), [("", "threads/"), ("a", "a/threads/"), ("a/b c/", "a/b c/threads/")])
def test_a_prefix_ends_in_a_slash(prefix: str, heads: str) -> None:
    assert Layout(prefix).heads == heads
