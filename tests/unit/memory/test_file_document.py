"""File names and the JSON document of a thread."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from locus_memory.backends.file_document import (
    CheckpointRecord,
    document_text,
    file_name,
    read_document,
    thread_id_of,
)
from locus_memory.codec import StateCodec
from locus_memory.errors import CorruptCheckpointError
from locus_memory.history import Entry, ThreadHistory
from locus_memory.storage import CheckpointSummary

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=400)
NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def history(thread_id: str, *payloads: bytes) -> ThreadHistory[CheckpointRecord]:
    """A history with one checkpoint for each payload."""
    made: ThreadHistory[CheckpointRecord] = ThreadHistory(thread_id)
    for number, payload in enumerate(payloads):
        summary = CheckpointSummary(thread_id, f"c{number}", {"none": None, "n": number}, NOW, "ns", "parent")
        made.put(Entry(summary, CheckpointRecord.of(summary, payload)))
    return made


def write(directory: Path, made: ThreadHistory[CheckpointRecord]) -> Path:
    path = directory / file_name(made.thread_id)
    path.write_bytes(document_text(made))
    return path


@given(TEXT, TEXT)
def test_two_ids_never_share_a_file_even_where_case_is_folded(one: str, other: str) -> None:
    assert (file_name(one).lower() == file_name(other).lower()) == (one == other)


@given(TEXT | st.text("/.~%\0 AaÉ", min_size=200, max_size=400))
def test_a_file_name_is_short_lower_case_and_visible(thread_id: str) -> None:
    name = file_name(thread_id)
    assert len(name) <= 255
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_%~.")
    assert not name.startswith(".")
    assert name.count(".") == 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TEXT)
def test_the_thread_id_is_known_from_the_name_or_else_from_the_head_of_the_file(tmp_path: Path, thread_id: str) -> None:
    path = write(tmp_path, history(thread_id, b"\x01" + b'"' + "é".encode() * 20_000 + b'"'))
    assert thread_id_of(path) == thread_id


@pytest.mark.parametrize("name", ["Notes.json", "a%2F.json", "a%zz.json", "%ff.json", "a b.json", ".json", "%e9.json"])
def test_a_file_of_somebody_else_is_no_thread(tmp_path: Path, name: str) -> None:
    assert thread_id_of(tmp_path / name) is None


@pytest.mark.parametrize(
    "payload",
    [
        StateCodec(compression=False).encode({"text": "a\0é🎉", "nan": float("inf"), "n": [1.0, 10**30, None]}),
        StateCodec().encode({"text": "long " * 1000}),
        b"\x11{}",
        b"\x01null",
        b"\x01",
        b"",
        b'\x01{"a": 1}',
        b'\x01{"a":1,"a":2}',
        b"\x011],[2",
        b"\x01" + b"[" * 195 + b"]" * 195,
        bytes(range(256)),
    ],
)
def test_a_payload_comes_back_byte_for_byte(tmp_path: Path, payload: bytes) -> None:
    made = history("t", payload, b"\x01{}", payload)
    path = write(tmp_path, made)
    read = read_document(path, "t")
    assert [entry.body.payload_bytes() for entry in read.entries()] == [payload, b"\x01{}", payload]
    assert [entry.summary for entry in read.entries()] == [entry.summary for entry in made.entries()]
    assert document_text(read) == path.read_bytes()


def test_the_file_is_readable_json(tmp_path: Path) -> None:
    path = write(tmp_path, history("user/é", StateCodec(compression=False).encode({"messages": ["hé"]})))
    text = path.read_text()
    assert '"hé"' in text
    assert json.loads(text) == {
        "format": "locus-memory thread",
        "version": 1,
        "thread_id": "user/é",
        "checkpoints": [
            {
                "checkpoint_id": "c0",
                "created_at": "2026-01-02T03:04:05.678901Z",
                "namespace": "ns",
                "parent_id": "parent",
                "metadata": {"none": None, "n": 0},
                "codec": 1,
                "state": {"messages": ["hé"]},
            }
        ],
    }


def _edited(**changes: Any) -> bytes:
    document = json.loads(document_text(history("t", b"\x01{}")))
    return json.dumps({**document, **changes}).encode()


RECORD = json.loads(document_text(history("t", b"\x01{}")))["checkpoints"][0]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\0" * 100,
        document_text(history("t", b"\x01{}"))[:-2],
        document_text(history("t", b"\x01{}")) + b"x",
        document_text(history("other", b"\x01{}")),
        _edited(version=2),
        _edited(format="other"),
        _edited(unknown=1),
        _edited(checkpoints=None),
        _edited(checkpoints=[RECORD, RECORD]),
        _edited(checkpoints=[RECORD | {"created_at": "yesterday"}]),
        _edited(checkpoints=[RECORD | {"created_at": "2026-01-01T00:00:00"}]),
        _edited(checkpoints=[RECORD | {"unknown": 1}]),
        _edited(checkpoints=[RECORD | {"metadata": []}]),
        _edited(checkpoints=[RECORD | {"codec": 999}]),
        _edited(checkpoints=[RECORD | {"codec": -1}]),
        _edited(checkpoints=[RECORD | {"codec": None}]),
        _edited(checkpoints=[RECORD | {"payload": "e30="}]),
        _edited(checkpoints=[{key: RECORD[key] for key in ("checkpoint_id", "created_at")} | {"payload": "A"}]),
        _edited(checkpoints=[{key: RECORD[key] for key in ("checkpoint_id", "created_at")} | {"payload": None}]),
        _edited(checkpoints=[{key: value for key, value in RECORD.items() if key != "state"} | {"payload": "e30="}]),
        _edited(checkpoints=[{key: value for key, value in RECORD.items() if key not in ("codec", "state")}]),
        _edited(checkpoints=[{key: value for key, value in RECORD.items() if key != "state"}]),
    ],
)
def test_a_damaged_file_is_an_error_that_names_it(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / file_name("t")
    path.write_bytes(text)
    with pytest.raises(CorruptCheckpointError) as caught:
        read_document(path, "t")
    assert str(path) in str(caught.value)
