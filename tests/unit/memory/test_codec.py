"""State to bytes and back."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Self

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from locus.core.messages import Message
from locus.core.state import AgentState
from pydantic import BaseModel

from locus_memory import envelope
from locus_memory.codec import StateCodec
from locus_memory.envelope import COMPRESSION_THRESHOLD, is_plain_json
from locus_memory.errors import CorruptCheckpointError, InvalidStateError, StateTooLargeError

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5),
    max_leaves=20,
)
LONG = {"text": "a conversation " * 200}


class Trip(BaseModel):
    city: str
    start: datetime


@dataclass
class Plan:
    goal: str
    trip: Trip


class Custom:
    """The shape of locus-sdk's states."""

    def __init__(self, value: int) -> None:
        self.value = value

    def to_checkpoint(self) -> dict[str, Any]:
        return {"value": self.value}

    @classmethod
    def from_checkpoint(cls, data: dict[str, Any]) -> Self:
        return cls(data["value"])


@given(st.dictionaries(TEXT, JSON), st.booleans())
def test_any_json_object_comes_back_equal(state: dict[str, Any], compression: bool) -> None:
    coder = StateCodec(compression=compression)
    payload = coder.encode(state)
    assert coder.decode(payload) == state
    assert coder.decode_json(payload) == state


def test_a_short_state_is_readable_json_after_its_codec_byte() -> None:
    payload = StateCodec().encode({"a": "é"})
    assert payload == b'\x01{"a":"\xc3\xa9"}'
    assert is_plain_json(payload)


def test_a_long_state_is_compressed_unless_it_must_not_be() -> None:
    compressed, plain = StateCodec().encode(LONG), StateCodec(compression=False).encode(LONG)
    assert compressed[0] == 0x02
    assert len(compressed) < len(plain) / 3
    assert (is_plain_json(compressed), is_plain_json(plain)) == (False, True)
    assert StateCodec(compression=False).decode(compressed) == StateCodec().decode(plain) == LONG


def test_compression_starts_at_its_threshold() -> None:
    overhead = len('{"t":""}')
    for length, byte in ((COMPRESSION_THRESHOLD - 1, 0x01), (COMPRESSION_THRESHOLD, 0x02)):
        assert StateCodec().encode({"t": "x" * (length - overhead)})[0] == byte


@pytest.mark.parametrize(
    ("state", "state_type"),
    [
        (Trip(city="Tokyo", start=datetime(2026, 4, 1, tzinfo=UTC)), Trip),
        (Plan("rest", Trip(city="Kyoto", start=datetime(2026, 5, 1, tzinfo=UTC))), Plan),
        ({"a": 1}, dict[str, int]),
        ({"a": 1}, dict),
    ],
)
def test_state_type_says_what_is_returned(state: Any, state_type: Any) -> None:
    coder = StateCodec(state_type)
    loaded = coder.decode(coder.encode(state))
    assert loaded == state
    assert type(loaded) is type(state)


def test_to_checkpoint_and_from_checkpoint_are_used() -> None:
    payload = StateCodec().encode(Custom(7))
    assert StateCodec(Custom).decode(payload).value == 7
    assert StateCodec().decode(payload) == {"value": 7}


def test_any_mapping_is_a_state() -> None:
    assert StateCodec().decode(StateCodec().encode(MappingProxyType({"a": 1}))) == {"a": 1}


def test_an_agent_state_comes_back_as_one_and_a_mapping_as_a_mapping() -> None:
    state = AgentState(agent_id="a").with_message(Message.user("Tokyo"))
    loaded = StateCodec().decode(StateCodec().encode(state))
    assert type(loaded) is AgentState
    assert loaded == state
    assert type(StateCodec().decode(StateCodec().encode(state.to_checkpoint()))) is dict
    assert type(StateCodec(dict).decode(StateCodec().encode(state))) is dict


def test_a_subclass_that_writes_itself_is_asked_to() -> None:
    class Own(AgentState):
        def to_checkpoint(self) -> dict[str, Any]:
            return {"own": True}

    assert StateCodec().decode_json(StateCodec().encode(Own(agent_id="a"))) == {"own": True}


def test_special_floats_are_kept() -> None:
    loaded = StateCodec().decode(StateCodec().encode({"inf": float("inf"), "nan": float("nan")}))
    assert loaded["inf"] == float("inf")
    assert loaded["nan"] != loaded["nan"]


@pytest.mark.parametrize("state", ["text", 1, None, [], b"", object(), {"x": object()}, {"x": "\ud800"}, Trip, Plan])
def test_what_json_cannot_represent_is_refused(state: Any) -> None:
    with pytest.raises(InvalidStateError):
        StateCodec().encode(state)


@pytest.mark.parametrize("depth", range(195, 260))
def test_what_can_be_written_can_be_read(depth: int) -> None:
    state: dict[str, Any] = {}
    for _ in range(depth - 1):
        state = {"k": state}
    try:
        payload = StateCodec().encode(state)
    except InvalidStateError:
        assert depth > 190
    else:
        assert StateCodec().decode(payload) == state


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x01",
        b"\x01{",
        b"\x01[1, 2",
        b"\x00{}",
        b"\x03{}",
        b"\x21{}",
        b"\x81{}",
        b"{}",
        b"\x02",
        b"\x02not zstd",
        StateCodec().encode(LONG)[:-1],
        StateCodec().encode(LONG) + b"x",
        StateCodec().encode(LONG)[:-8] + b"\0\0\0\0\0\0\0\0",
    ],
)
def test_a_damaged_payload_is_an_error(payload: bytes) -> None:
    with pytest.raises(CorruptCheckpointError):
        StateCodec().decode(payload)
    with pytest.raises(CorruptCheckpointError):
        StateCodec().decode_json(payload)


def test_each_flipped_bit_of_a_compressed_payload_is_noticed() -> None:
    payload = StateCodec().encode(LONG)
    for position in range(1, len(payload)):
        damaged = payload[:position] + bytes((payload[position] ^ 0x10,)) + payload[position + 1 :]
        try:
            loaded = StateCodec().decode(damaged)
        except CorruptCheckpointError:
            continue
        assert loaded == LONG  # unused bits of the frame's header


def test_a_state_that_does_not_fit_its_type_is_an_error() -> None:
    with pytest.raises(CorruptCheckpointError, match="Trip"):
        StateCodec(Trip).decode(StateCodec().encode({"city": 1}))


def test_a_state_over_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(envelope, "MAX_STATE_BYTES", 1000)
    with pytest.raises(StateTooLargeError, match="1,000"):
        StateCodec().encode(LONG)


def test_a_small_payload_that_claims_to_be_huge_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = b"\x02" + zstandard.ZstdCompressor().compress(b"0" * 100_000)
    monkeypatch.setattr(envelope, "MAX_STATE_BYTES", 1000)
    with pytest.raises(CorruptCheckpointError, match="over 1,000 bytes"):
        StateCodec().decode(bomb)


def test_threads_share_one_codec() -> None:
    coder, barrier = StateCodec(), threading.Barrier(4)

    def work(number: int) -> bool:
        barrier.wait()
        state = {"text": f"thread {number} " * 500}
        return all(coder.decode(coder.encode(state)) == state for _ in range(50))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))
