"""Heads, pages and checkpoints, as they are written and read."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from locus_memory.backends.oci_bucket_records import (
    Entry,
    Head,
    Page,
    decode_head,
    decode_header,
    decode_page,
    encode_head,
    encode_header,
    encode_page,
    fingerprint,
    new_entry,
    split_payload,
)
from locus_memory.errors import CorruptCheckpointError, SchemaError
from locus_memory.storage import NewCheckpoint

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
NEW = NewCheckpoint("t\0", "c/é", b"payload", {"n": [1, None]}, "sub", "parent")
HEADER = encode_header(NEW)


def entry(**changes: Any) -> Entry:
    return replace(new_entry(NEW, "life/c/1-x", len(HEADER), NOW), **changes)


def test_a_head_is_read_as_it_was_written() -> None:
    entries = (entry(), entry(namespace="", parent_id=None, metadata={}), entry(metadata=None))
    head = Head("t\0", "life", 7, entries, (Page.of("life/p/1", entries),), ("life/c/9",))
    assert decode_head(encode_head(head), "name", "t\0") == head


def test_a_page_is_read_as_it_was_written() -> None:
    assert decode_page(encode_page([entry(), entry(metadata=None)]), "name") == [entry(), entry(metadata=None)]


def test_a_checkpoint_is_read_as_it_was_written() -> None:
    assert decode_header(HEADER + b"pay", entry(), "t\0") == {"n": [1, None]}
    assert split_payload(HEADER + b"payload", entry(), "t\0") == b"payload"


@pytest.mark.parametrize(
    "data", [b"", b"LMC1", HEADER, HEADER + b"payloa", HEADER + b"payload!", b"X" + HEADER[1:] + b"payload"]
)
def test_a_damaged_checkpoint_is_an_error_that_names_it(data: bytes) -> None:
    with pytest.raises(CorruptCheckpointError, match="c/é"):
        split_payload(data, entry(), "t\0")


@pytest.mark.parametrize("other", [{"checkpoint_id": "d"}, {"namespace": ""}])
def test_the_payload_of_another_checkpoint_is_an_error(other: dict[str, str]) -> None:
    with pytest.raises(CorruptCheckpointError, match="it is that of"):
        split_payload(HEADER + b"payload", entry(**other), "t\0")
    with pytest.raises(CorruptCheckpointError, match="it is that of"):
        split_payload(HEADER + b"payload", entry(), "t")


@pytest.mark.parametrize("data", [b"{", b"[]", b"{}", b'{"format":1}', b"\xff"])
def test_a_damaged_head_or_page_is_an_error_that_names_it(data: bytes) -> None:
    with pytest.raises(CorruptCheckpointError, match="the-name"):
        decode_head(data, "the-name", None)
    with pytest.raises(CorruptCheckpointError, match="the-name"):
        decode_page(data, "the-name")


def test_the_head_of_another_thread_is_an_error() -> None:
    with pytest.raises(CorruptCheckpointError, match="of thread 'a'"):
        decode_head(encode_head(Head("a", "life")), "name", "b")


def test_a_head_of_a_later_version_is_an_error_that_says_what_to_do() -> None:
    document = json.loads(encode_head(Head("a", "life"))) | {"format": 2}
    with pytest.raises(SchemaError, match="install a newer one"):
        decode_head(json.dumps(document).encode(), "name", "a")


def test_large_metadata_stand_with_the_payload_only() -> None:
    small, large = ({"text": "x" * size} for size in (900, 1100))
    assert new_entry(replace(NEW, metadata=small), "n", 1, NOW).metadata == small
    assert new_entry(replace(NEW, metadata=large), "n", 1, NOW).metadata is None


def test_what_a_caller_does_with_a_summary_does_not_reach_the_entry() -> None:
    one = entry()
    assert one.metadata is not None
    one.summary("t", one.metadata).metadata["n"] = "changed"
    assert one.metadata == {"n": [1, None]}


def test_fingerprints_do_not_mix_up_namespace_and_id() -> None:
    assert fingerprint("a", "bc") != fingerprint("ab", "c")
