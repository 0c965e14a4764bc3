"""State to bytes and back.

A payload is one codec byte followed by JSON text in UTF-8, compressed with zstd when that pays, and encrypted when
there is a key. The byte's low four bits name the encoding, its higher bits are flags; an unknown bit is an error, so
later versions can add encodings that this one refuses rather than misreads.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.util
import inspect
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

import zstandard
from pydantic import BaseModel, JsonValue, TypeAdapter
from pydantic_core import PydanticSerializationError, from_json, to_json

from locus_memory.encryption import EncryptionKeys, PayloadCipher, unknown_key
from locus_memory.errors import CorruptCheckpointError, InvalidStateError, StateTooLargeError

MAX_STATE_BYTES: Final = 256 * 1024 * 1024
"""Largest state as JSON text, in bytes; bounds what a payload may decompress to."""

COMPRESSION_THRESHOLD: Final = 1024
"""States of fewer bytes are stored as they are: they fit a page or a packet anyway."""

ZSTD_LEVEL: Final = 1
"""Level 1: three to four times smaller for conversations, at 7 microseconds for 18 KB."""

_PADDING: Final = 56
"""pydantic writes up to 255 levels of nesting, but reads only 200: wrapped in so many lists while it is written, a
state that could not be loaded again is refused when it is saved."""

_ENCODING_MASK: Final = 0x0F
_JSON: Final = 0x01
_JSON_ZSTD: Final = 0x02
_AGENT_STATE: Final = 0x10
"""Flag: the state was locus-sdk's `AgentState`, which `load` returns again where locus-sdk is installed."""
_AGENT_STATE_FIELDS: Final = {"run_id", "agent_id", "messages", "iteration", "max_iterations", "tool_executions"}
_ENCRYPTED: Final = 0x20
"""Flag: what follows the codec byte is encrypted; see `locus_memory.encryption`."""


class AgentStateJson(dict[str, JsonValue]):
    """The JSON object of an `AgentState` of locus-sdk, which `load` returns as such."""


class StateCodec:
    """Encodes states of any supported kind, and decodes them to `state_type`.

    Args:
        state_type: What `decode` returns: a class with `from_checkpoint()`, a pydantic model, a dataclass, any
            type that pydantic can validate, or `dict`. By default, what was locus-sdk's `AgentState` is returned
            as such where locus-sdk is installed, and everything else as a `dict`.
        compression: Compress states of `COMPRESSION_THRESHOLD` bytes and more.
        encryption_key: Encrypt; what is stored unencrypted can still be read.

    Raises:
        InvalidArgumentError: A key is not 32 bytes.
    """

    def __init__(
        self, state_type: Any = None, *, compression: bool = True, encryption_key: EncryptionKeys | None = None
    ) -> None:
        self._state_type = state_type
        self._compression = compression
        self._cipher = None if encryption_key is None else PayloadCipher(encryption_key)
        # zstd contexts are expensive to make and not safe to share between threads.
        self._contexts = threading.local()

    @property
    def encrypts(self) -> bool:
        """Whether payloads are encrypted, so that their text must not be stored beside them."""
        return bool(self._cipher)

    def refresh_keys(self) -> bool:
        """Ask for the encryption keys again; tell whether they have changed. May block."""
        return self._cipher is not None and self._cipher.refresh()

    def encode(self, state: Any) -> bytes:
        """Turn a state into a payload.

        Raises:
            InvalidStateError: The state is of no supported kind, or holds something that JSON in UTF-8 cannot
                represent, such as a lone surrogate.
            StateTooLargeError: Over `MAX_STATE_BYTES`.
        """
        text, flags = _to_json(state), _flags(state.__class__)
        if len(text) > MAX_STATE_BYTES:
            raise StateTooLargeError(
                f"the state has {len(text):,} bytes as JSON, over the limit of {MAX_STATE_BYTES:,}"
            )
        if self._compression and len(text) >= COMPRESSION_THRESHOLD:
            flags |= _JSON_ZSTD
            text = self._compressor().compress(text)
        else:
            flags |= _JSON
        if self._cipher:
            return self._cipher.encrypt(bytes((flags | _ENCRYPTED,)), text)
        return bytes((flags,)) + text

    def decode(self, payload: bytes) -> Any:
        """Turn a payload into a state of `state_type`.

        Raises:
            CorruptCheckpointError: The payload is damaged, was written by a newer version, or is no such state.
            UnknownEncryptionKeyError: It is encrypted with another key.
        """
        flags, text = self._open(payload)
        state_type = self._state_type
        if state_type is None:
            state_type = (_agent_state_type() if flags & _AGENT_STATE else None) or dict
        try:
            return _reader(state_type)(text)
        except ValueError as error:
            raise CorruptCheckpointError(f"the stored state is no valid {_name(state_type)}: {error}") from error

    def decode_json(self, payload: bytes) -> JsonValue:
        """Return the stored JSON value, whatever the state's type.

        Raises:
            CorruptCheckpointError: As for `decode`.
        """
        _, text = self._open(payload)
        try:
            value: JsonValue = from_json(text)
        except ValueError as error:
            raise CorruptCheckpointError(f"the stored state is no JSON: {error}") from error
        return value

    def _open(self, payload: bytes) -> tuple[int, bytes]:
        if not payload:
            raise CorruptCheckpointError("the stored payload is empty")
        encoding, flags = payload[0] & _ENCODING_MASK, payload[0] & ~_ENCODING_MASK
        if encoding not in (_JSON, _JSON_ZSTD) or flags & ~(_AGENT_STATE | _ENCRYPTED):
            raise CorruptCheckpointError(
                f"the stored payload has the unknown codec byte 0x{payload[0]:02x}: "
                "it is damaged, or was written by a newer version of locus-memory"
            )
        text = self._decrypt(payload) if flags & _ENCRYPTED else payload[1:]
        return flags, text if encoding == _JSON else self._decompress(text)

    def _decrypt(self, payload: bytes) -> bytes:
        if self._cipher is None:
            raise unknown_key(payload, 1)
        return self._cipher.decrypt(payload, 1)

    def _decompress(self, frame: bytes) -> bytes:
        try:
            # The frame carries its content size and a checksum; the size is checked before memory is taken.
            if zstandard.frame_content_size(frame[:18]) > MAX_STATE_BYTES:
                raise CorruptCheckpointError(f"the stored payload claims to hold over {MAX_STATE_BYTES:,} bytes")
            return self._decompressor().decompress(frame, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise CorruptCheckpointError(f"the stored payload cannot be decompressed: {error}") from error

    def _compressor(self) -> zstandard.ZstdCompressor:
        context: zstandard.ZstdCompressor | None = getattr(self._contexts, "compressor", None)
        if context is None:
            context = self._contexts.compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL, write_checksum=True)
        return context

    def _decompressor(self) -> zstandard.ZstdDecompressor:
        context: zstandard.ZstdDecompressor | None = getattr(self._contexts, "decompressor", None)
        if context is None:
            context = self._contexts.decompressor = zstandard.ZstdDecompressor()
        return context


def is_plain_json(payload: bytes) -> bool:
    """Tell whether the payload, after its codec byte, is JSON text as it stands."""
    return bool(payload) and payload[0] & ~_AGENT_STATE == _JSON


def is_encrypted(payload: bytes) -> bool:
    """Tell whether the payload can be read with its key only."""
    return bool(payload) and bool(payload[0] & _ENCRYPTED)


def plain_payload(text: bytes, *, agent_state: bool = False) -> bytes:
    """Make the payload of a state that is JSON text already.

    Args:
        text: A JSON object in UTF-8.
        agent_state: It is locus-sdk's `AgentState`.
    """
    return bytes((_JSON | (_AGENT_STATE if agent_state else 0),)) + text


def looks_like_agent_state(state: JsonValue) -> bool:
    """Tell whether a state of unknown origin was locus-sdk's `AgentState`: it has fields that only that one has."""
    return isinstance(state, dict) and state.keys() >= _AGENT_STATE_FIELDS


def _to_json(state: Any) -> bytes:
    if hasattr(state, "to_checkpoint") and not _writes_itself(state.__class__):
        state = state.to_checkpoint()
    is_dataclass_instance = dataclasses.is_dataclass(state) and not isinstance(state, type)
    if not (isinstance(state, (BaseModel, Mapping)) or is_dataclass_instance):
        raise InvalidStateError(
            f"a state of type {_name(type(state))} cannot be saved: pass an object with to_checkpoint(), "
            "a pydantic model, a dataclass or a JSON-able mapping"
        )
    if isinstance(state, Mapping) and not isinstance(state, dict):
        state = dict(state)
    for _ in range(_PADDING):
        state = [state]
    try:
        return to_json(state, inf_nan_mode="constants")[_PADDING:-_PADDING]
    except (PydanticSerializationError, ValueError, RecursionError) as error:
        raise InvalidStateError(f"the state cannot be written as JSON: {error}") from error


@functools.cache
def _flags(state_class: Any) -> int:
    if issubclass(state_class, AgentStateJson):
        return _AGENT_STATE
    # Compared by name: the class is importable only where locus-sdk is installed.
    names = ((base.__module__, base.__name__) for base in getattr(state_class, "__mro__", ()))
    return _AGENT_STATE if ("locus.core.state", "AgentState") in names else 0


# AgentState.to_checkpoint() is model_dump(mode="json"), and from_checkpoint() is model_validate(): pydantic does both
# straight from and to JSON, without the Python objects in between, in half the time.
@functools.cache
def _writes_itself(state_class: type) -> bool:
    return _inherits_from_agent_state(state_class, "to_checkpoint")


def _inherits_from_agent_state(state_class: Any, method: str) -> bool:
    agent_state = _agent_state_type() if _flags(state_class) else None
    if agent_state is None:
        return False
    own, inherited = (inspect.getattr_static(owner, method, None) for owner in (state_class, agent_state))
    return own is inherited


@functools.cache
def _agent_state_type() -> Any | None:
    if importlib.util.find_spec("locus") is None:
        return None
    return importlib.import_module("locus.core.state").AgentState


@functools.cache
def _reader(state_type: Any) -> Callable[[bytes], Any]:
    if state_type is dict:
        return from_json
    if hasattr(state_type, "from_checkpoint") and not _inherits_from_agent_state(state_type, "from_checkpoint"):
        return lambda text: state_type.from_checkpoint(from_json(text))
    if isinstance(state_type, type) and issubclass(state_type, BaseModel):
        return state_type.model_validate_json
    return TypeAdapter(state_type).validate_json


def _name(state_type: Any) -> str:
    return getattr(state_type, "__qualname__", None) or repr(state_type)
