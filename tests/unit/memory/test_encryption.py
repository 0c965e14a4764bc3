"""Payloads encrypted under keys that rotate."""

import base64
from typing import Any

import pytest

from locus_memory.codec import StateCodec
from locus_memory.encryption import PayloadCipher, key_id
from locus_memory.envelope import is_plain_json
from locus_memory.errors import CorruptCheckpointError, InvalidArgumentError, UnknownEncryptionKeyError

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
STATE = {"text": "the trip to Tokyo"}
LONG = {"text": "the trip to Tokyo " * 500}


@pytest.mark.parametrize("state", [{}, STATE, LONG])
@pytest.mark.parametrize("compression", [True, False])
def test_an_encrypted_state_comes_back_and_shows_nothing(state: dict[str, Any], compression: bool) -> None:
    codec = StateCodec(compression=compression, encryption_key=OLD)
    payload = codec.encode(state)
    assert b"Tokyo" not in payload
    assert b"text" not in payload
    assert not is_plain_json(payload)
    assert codec.decode(payload) == state


def test_a_state_is_compressed_before_it_is_encrypted() -> None:
    assert len(StateCodec(encryption_key=OLD).encode(LONG)) < len(StateCodec().encode(LONG)) + 64


def test_the_same_state_is_never_encrypted_alike() -> None:
    codec = StateCodec(encryption_key=OLD)
    assert len({codec.encode(STATE) for _ in range(100)}) == 100


def test_the_first_key_encrypts_and_all_decrypt() -> None:
    before, after = StateCodec(encryption_key=OLD), StateCodec(encryption_key=[NEW, OLD])
    assert after.decode(before.encode(STATE)) == STATE
    with pytest.raises(UnknownEncryptionKeyError, match=key_id(NEW)):
        before.decode(after.encode(STATE))


def test_a_dropped_key_is_named_by_its_id_alone() -> None:
    payload = StateCodec(encryption_key=OLD).encode(STATE)
    for codec in (StateCodec(), StateCodec(encryption_key=NEW)):
        with pytest.raises(UnknownEncryptionKeyError, match=key_id(OLD)) as caught:
            codec.decode(payload)
        assert base64.b64encode(OLD).decode() not in str(caught.value)


def test_states_from_before_encryption_can_be_read() -> None:
    assert StateCodec(encryption_key=OLD).decode(StateCodec().encode(LONG)) == LONG


def test_a_change_of_any_byte_is_noticed() -> None:
    codec = StateCodec(encryption_key=OLD)
    payload = codec.encode(STATE)
    for position in range(len(payload)):
        changed = bytearray(payload)
        changed[position] ^= 0x04
        with pytest.raises(CorruptCheckpointError):
            codec.decode(bytes(changed))


def test_a_payload_cut_off_anywhere_is_noticed() -> None:
    codec = StateCodec(encryption_key=OLD)
    payload = codec.encode(STATE)
    for length in range(len(payload)):
        with pytest.raises(CorruptCheckpointError):
            codec.decode(payload[:length])


def test_the_compressed_flag_cannot_be_taken_off() -> None:
    codec = StateCodec(encryption_key=OLD)
    payload = codec.encode(LONG)
    with pytest.raises(CorruptCheckpointError, match="authentication tag"):
        codec.decode(bytes((payload[0] ^ 0x03,)) + payload[1:])


def test_keys_are_taken_as_bytes_or_as_base64_text() -> None:
    text = base64.b64encode(OLD).decode()
    payload = StateCodec(encryption_key=text + "\n").encode(STATE)
    assert StateCodec(encryption_key=(OLD,)).decode(payload) == STATE


@pytest.mark.parametrize("bad", [b"short", "short", "", [], "é" * 32, base64.b64encode(b"x" * 31).decode(), [OLD, b""]])
def test_anything_else_is_refused_and_not_shown(bad: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^encryption_key: write (32 bytes|at least one)"):
        StateCodec(encryption_key=bad)


def test_keys_from_a_function_are_asked_for_again() -> None:
    keys = [OLD]
    codec = StateCodec(encryption_key=lambda: keys)
    keys.insert(0, NEW)
    assert codec.envelope.refresh_keys()
    assert not codec.envelope.refresh_keys()
    assert StateCodec(encryption_key=NEW).decode(codec.encode(STATE)) == STATE


def test_a_function_may_say_that_nothing_is_encrypted() -> None:
    codec = StateCodec(encryption_key=list)
    assert not codec.encrypts
    assert StateCodec().decode(codec.encode(STATE)) == STATE


def test_no_key_is_seen_in_a_representation() -> None:
    shown = repr(PayloadCipher(OLD)) + repr(vars(PayloadCipher(OLD)))
    assert repr(OLD) not in shown
    assert OLD.hex() not in shown
