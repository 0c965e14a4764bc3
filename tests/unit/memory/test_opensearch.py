"""The pure parts of the OpenSearch backend."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opensearchpy import TransportError

from locus_memory.backends import opensearch_checkpointer, opensearch_layout
from locus_memory.backends.opensearch import OpenSearchBackend
from locus_memory.backends.opensearch_errors import Refusal
from locus_memory.backends.opensearch_layout import (
    Draft,
    decode_payload,
    encode_payload,
    index_body,
    metadata_token,
    search_term,
    search_terms,
    thread_key,
    unpack_terms,
)
from locus_memory.backends.opensearch_manifest import Entry, Manifest
from locus_memory.connection import OpenSearchConnection
from locus_memory.errors import BindingError, CheckpointError, CorruptCheckpointError
from locus_memory.metadata import canonical
from locus_memory.storage import NewCheckpoint

IDS = st.text(min_size=1, max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


def manifest(**namespaces: str) -> Manifest:
    made = Manifest()
    for name, ids in namespaces.items():
        for number, checkpoint_id in enumerate(ids):
            made = made.with_latest(Entry(checkpoint_id, f"{name}-{checkpoint_id}-{number}", number, 1), name)
    return made


# Manifests


@given(st.dictionaries(st.text(max_size=4), st.lists(IDS, min_size=1, max_size=5), max_size=4))
def test_a_manifest_comes_back_equal(namespaces: dict[str, list[str]]) -> None:
    original = Manifest(
        {
            name: tuple(Entry(each, f"d{number}", number, 10) for number, each in enumerate(ids))
            for name, ids in namespaces.items()
        }
    )
    assert Manifest.load(original.dump()) == original


def test_a_manifest_of_a_later_version_with_longer_entries_is_read() -> None:
    assert Manifest.load('{"checkpoints":{"":[["a","d",1,2,[],"more"]]}}').latest() == Entry("a", "d", 1, 2)


def test_writing_an_id_again_makes_it_the_latest_and_drops_its_old_document() -> None:
    before = manifest(main="abc")
    after = before.with_latest(Entry("a", "new", 9, 1), "main")
    assert [entry.checkpoint_id for entry in after.newest(10, "main")] == ["a", "c", "b"]
    assert before.dropped_by(after) == ["main-a-0"]
    assert after.find("a", "main") == after.latest("main") == Entry("a", "new", 9, 1)


def test_the_newest_entries_come_first_and_are_limited() -> None:
    made = manifest(main="abcd")
    assert [entry.checkpoint_id for entry in made.newest(2, "main")] == ["d", "c"]
    assert len(made.newest(10, "main")) == 4
    assert made.newest(3) == ()


def test_an_empty_namespace_is_none() -> None:
    made = manifest(main="a", sub="ab")
    left = made.without(lambda entry: entry.checkpoint_id == "a")
    assert list(left.namespaces) == ["sub"]
    assert left.latest("main") is None
    assert not left.holds("main-a-0", "main")
    assert left.holds("sub-b-1", "sub")


# Documents


@given(st.text(max_size=20), st.text(max_size=20))
def test_keys_of_threads_collide_only_for_equal_ids(one: str, other: str) -> None:
    assert (thread_key(one) == thread_key(other)) == (one == other)


@given(st.text(max_size=4), JSON, st.text(max_size=4), JSON)
def test_tokens_are_equal_exactly_for_equal_fields(key: str, value: Any, other_key: str, other_value: Any) -> None:
    same = (key, canonical(value)) == (other_key, canonical(other_value))
    assert (metadata_token(key, value) == metadata_token(other_key, other_value)) == same


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 100, 101])
def test_a_payload_is_cut_into_parts_and_comes_back(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opensearch_layout, "_PART_BYTES", 3)
    payload = bytes(range(size))
    parts = [part.decode() for part in encode_payload(payload)]
    assert len(parts) == max(1, -(-size // 3))
    assert decode_payload({"payload": parts}) == payload


def test_parts_stay_below_the_longest_string_that_any_version_takes() -> None:
    assert opensearch_layout._PART_BYTES % 3 == 0
    assert len(base64.b64encode(bytes(opensearch_layout._PART_BYTES))) < 20_000_000


def test_a_damaged_payload_is_said_to_be() -> None:
    for source in ({}, {"payload": None}, {"payload": ["%"]}):
        with pytest.raises(CorruptCheckpointError, match="'t'"):
            decode_payload({"thread_id": "t", **source})


def test_the_text_of_a_state_that_cannot_be_read_is_left_out() -> None:
    def text() -> str:
        raise CorruptCheckpointError("damaged")

    assert Draft(NewCheckpoint("t", "c", b"\xff", {}, text=text)).terms == []


def test_nothing_of_an_encrypted_state_is_indexed() -> None:
    draft = Draft(NewCheckpoint("t", "c", b"\xff", {}, text=None))
    assert draft.terms == []
    assert b"packed_terms" not in b"".join(draft.document("d", 1))


def test_everything_a_document_holds_is_in_the_mapping() -> None:
    draft = Draft(NewCheckpoint("t", "c", b"\xff", {"k": 1}, text=lambda: "word"))
    document = json.loads(b"".join(draft.document("d", 1)))
    assert document.keys() <= index_body()["mappings"]["properties"].keys()
    assert unpack_terms(document) == ["word"]


# Terms


def test_words_are_indexed_once_for_each_step_that_they_reach() -> None:
    assert search_terms("A a b, a") == ["a", "b", "a 2", "a 3"]
    assert search_terms("x " * 7)[-1] == "x 5"
    assert search_terms("x " * 70)[-1] == "x 64"


def test_a_long_word_is_indexed_by_a_digest_that_is_no_word() -> None:
    term = search_term("w" * 101)
    assert term.startswith("#")
    assert len(term) == 65
    assert search_term("w" * 100) == "w" * 100
    assert search_term("w" * 101, 2) == f"{term} 2"


def test_of_too_many_words_the_first_are_indexed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opensearch_layout, "_MAX_TERMS_CHARACTERS", 10)
    assert search_terms("abcd abcd efgh ijkl") == ["abcd", "efgh"]


# Errors and options


@pytest.mark.parametrize("text", ["", "<html>busy</html>", '{"error": "text"}', "[]", '{"error": {}}'])
def test_whatever_a_proxy_answers_is_an_error(text: str) -> None:
    error = Refusal.of_answer(TransportError(502, text)).translated("here", "me")
    assert isinstance(error, CheckpointError)
    assert error.retryable


@pytest.mark.parametrize(
    ("hosts", "options", "expected"),
    [
        ("search", {}, "http://search"),
        ("search:9200", {"use_ssl": True}, "https://search:9200"),
        ("search:9200", {"ca_certs": "-----BEGIN"}, "https://search:9200"),
        ("search:9200", {"ca_certs": "-----BEGIN", "use_ssl": False}, "http://search:9200"),
        ("https://search/prefix", {"use_ssl": False}, "https://search/prefix"),
        ([{"host": "search"}], {}, "http://search:9200"),
        ([{"host": "::1", "port": 9201, "use_ssl": True}], {}, "https://[::1]:9201"),
    ],
)
def test_hosts_are_written_as_opensearch_py_takes_them(hosts: Any, options: dict[str, Any], expected: str) -> None:
    assert expected in repr(opensearch_checkpointer(hosts, **options))


@pytest.mark.parametrize(
    "host", ["http://user:secret@search", "ftp://search", "http://", "http://search:port", "http://s?q"]
)
def test_a_host_that_is_no_plain_url_is_refused_without_showing_it(host: str) -> None:
    with pytest.raises(BindingError, match="hosts: write URLs") as caught:
        OpenSearchBackend(OpenSearchConnection(hosts=(host,)))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "*", "a,b", "Index", "_all", "-x", "..", "a b", "a/b", "a#b", "x" * 256])
def test_an_index_name_that_is_none_or_many_is_refused(name: str) -> None:
    with pytest.raises(BindingError, match="index_name"):
        opensearch_checkpointer(index_name=name)


def test_certificates_that_are_none_are_refused() -> None:
    with pytest.raises(BindingError, match="ca_certs"):
        opensearch_checkpointer(ca_certs="/no/such/file")


@pytest.mark.parametrize("call", [lambda: opensearch_checkpointer([]), lambda: opensearch_checkpointer([{"port": 1}])])
def test_no_host_is_refused(call: Callable[[], object]) -> None:
    with pytest.raises(BindingError, match="hosts"):
        call()
