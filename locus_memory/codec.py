"""State to bytes and back: JSON text in the envelope that all payloads have."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.util
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final

from pydantic import BaseModel, JsonValue, TypeAdapter
from pydantic_core import PydanticSerializationError, from_json, to_json

from locus_memory.encryption import EncryptionKeys
from locus_memory.envelope import AGENT_STATE, Envelope, Kind
from locus_memory.errors import CorruptCheckpointError, InvalidStateError

_PADDING: Final = 56
"""pydantic writes up to 255 levels of nesting, but reads only 200: wrapped in so many lists while it is written, a
state that could not be loaded again is refused when it is saved."""

_AGENT_STATE_FIELDS: Final = {"run_id", "agent_id", "messages", "iteration", "max_iterations", "tool_executions"}


class AgentStateJson(dict[str, JsonValue]):
    """The JSON object of an `AgentState` of locus-sdk, which `load` returns as such."""


class StateCodec:
    """Encodes states of any supported kind, and decodes them to `state_type`.

    Args:
        state_type: What `decode` returns: a class with `from_checkpoint()`, a pydantic model, a dataclass, any
            type that pydantic can validate, or `dict`. By default, what was locus-sdk's `AgentState` is returned
            as such where locus-sdk is installed, and everything else as a `dict`.
        compression: Compress states of 1 KiB and more.
        encryption_key: Encrypt; what is stored unencrypted can still be read.

    Raises:
        InvalidArgumentError: A key is not 32 bytes.
    """

    def __init__(
        self, state_type: Any = None, *, compression: bool = True, encryption_key: EncryptionKeys | None = None
    ) -> None:
        self._state_type = state_type
        self.envelope = Envelope(compression=compression, encryption_key=encryption_key)

    @property
    def encrypts(self) -> bool:
        """Whether payloads are encrypted, so that their text must not be stored beside them."""
        return self.envelope.encrypts

    def encode(self, state: Any) -> bytes:
        """Turn a state into a payload.

        Raises:
            InvalidStateError: The state is of no supported kind, or holds something that JSON in UTF-8 cannot
                represent, such as a lone surrogate.
            StateTooLargeError: Over `locus_memory.envelope.MAX_STATE_BYTES`.
        """
        return self.envelope.seal(Kind.JSON, _to_json(state), _flags(state.__class__))

    def decode(self, payload: bytes) -> Any:
        """Turn a payload into a state of `state_type`.

        Raises:
            CorruptCheckpointError: The payload is damaged, was written by a newer version, or is no such state.
            UnknownEncryptionKeyError: It is encrypted with another key.
        """
        text, flags = self.envelope.open(Kind.JSON, payload)
        state_type = self._state_type
        if state_type is None:
            state_type = (_agent_state_type() if flags & AGENT_STATE else None) or dict
        try:
            return _reader(state_type)(text)
        except ValueError as error:
            raise CorruptCheckpointError(f"the stored state is no valid {_name(state_type)}: {error}") from error

    def decode_json(self, payload: bytes) -> JsonValue:
        """Return the stored JSON value, whatever the state's type.

        Raises:
            CorruptCheckpointError: As for `decode`.
        """
        text, _ = self.envelope.open(Kind.JSON, payload)
        try:
            value: JsonValue = from_json(text)
        except ValueError as error:
            raise CorruptCheckpointError(f"the stored state is no JSON: {error}") from error
        return value


def plain_payload(text: bytes, *, agent_state: bool = False) -> bytes:
    """Make the payload of a state that is JSON text already.

    Args:
        text: A JSON object in UTF-8.
        agent_state: It is locus-sdk's `AgentState`.
    """
    return bytes((Kind.JSON | (AGENT_STATE if agent_state else 0),)) + text


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
        return AGENT_STATE
    # Compared by name: the class is importable only where locus-sdk is installed.
    names = ((base.__module__, base.__name__) for base in getattr(state_class, "__mro__", ()))
    return AGENT_STATE if ("locus.core.state", "AgentState") in names else 0


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
