"""States and metadata come back as they were given, and what cannot be stored is refused before anything is."""

from __future__ import annotations

import importlib
import importlib.util
import random
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from locus_memory.checkpointer import BaseCheckpointer
from locus_memory.errors import CheckpointError
from locus_memory.testing.base import ContractFixtures, requires

THREAD = "thread"

_TEXT = st.text(st.characters(exclude_categories=["Cs"]))
_SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | _TEXT
_STATES = st.dictionaries(
    _TEXT,
    st.recursive(
        _SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4), max_leaves=12
    ),
    max_size=6,
)

_METADATA = st.dictionaries(
    _TEXT,
    st.recursive(
        # Beyond 2**53 a float and the decimal number that it is written as may differ.
        _SCALARS.filter(lambda value: not isinstance(value, float) or abs(value) < 2**53),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
        max_leaves=6,
    ),
    min_size=1,
    max_size=4,
)
_EXAMPLES = settings(
    max_examples=40,
    deadline=None,
    database=None,
    # One checkpointer serves all examples; the suite's subclasses share these tests.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors, HealthCheck.too_slow],
)


class Message(BaseModel):
    """A pydantic model within a state."""

    role: str
    content: str


class Conversation(BaseModel):
    """A state that is a pydantic model."""

    messages: list[Message]
    updated_at: datetime
    budget: float | None = None


@dataclass
class Plan:
    """A state that is a dataclass."""

    goal: str
    steps: list[str] = field(default_factory=list)


class StateTests(ContractFixtures):
    """Round trips."""

    async def test_a_mapping_comes_back_equal(self, checkpointer: BaseCheckpointer) -> None:
        state = {
            "text": "añ日🎉",
            "n": -1,
            "pi": 3.25,
            "big": 2**53 + 1,
            "yes": True,
            "none": None,
            "list": [1, [], {}],
        }
        await checkpointer.save(state, THREAD)
        loaded: Any = await checkpointer.load(THREAD)
        assert loaded == state
        assert type(loaded["yes"]) is bool

    async def test_an_empty_mapping_is_a_state_and_not_none(self, checkpointer: BaseCheckpointer) -> None:
        await checkpointer.save({}, THREAD)
        assert await checkpointer.load(THREAD) == {}

    async def test_a_pydantic_model_comes_back_as_its_json(self, checkpointer: BaseCheckpointer) -> None:
        state = Conversation(messages=[Message(role="user", content="hi")], updated_at=datetime.now(UTC))
        await checkpointer.save(state, THREAD)
        assert await checkpointer.load(THREAD) == state.model_dump(mode="json")

    async def test_a_dataclass_comes_back_as_its_fields(self, checkpointer: BaseCheckpointer) -> None:
        state = Plan("Tokyo", ["fly", "eat"])
        await checkpointer.save(state, THREAD)
        assert await checkpointer.load(THREAD) == asdict(state)

    async def test_agent_state_of_locus_sdk_comes_back_as_such(self, checkpointer: BaseCheckpointer) -> None:
        if importlib.util.find_spec("locus") is None:
            pytest.skip("locus-sdk is not installed")
        agent_state = importlib.import_module("locus.core.state").AgentState
        message = importlib.import_module("locus.core.messages").Message
        state = agent_state(agent_id="a").with_message(message.user("Tokyo\0"))
        await checkpointer.save(state, THREAD)
        loaded = await checkpointer.load(THREAD)
        assert type(loaded) is agent_state
        # Not as JSON: the order of its sets differs from one to the next.
        assert loaded == state

    async def test_a_null_character_is_kept_in_keys_and_values(self, checkpointer: BaseCheckpointer) -> None:
        state = {"a\0b": "\0", "list": ["x\0y\\u0000"]}
        await checkpointer.save(state, THREAD)
        assert await checkpointer.load(THREAD) == state

    async def test_several_mebibytes_come_back(self, checkpointer: BaseCheckpointer) -> None:
        # Hexadecimal digits of random bits compress by half at best.
        state = {"blob": f"{random.Random(1).getrandbits(16 * 2**20):x}", "flat": "a" * 2**20}  # noqa: S311
        await checkpointer.save(state, THREAD)
        assert await checkpointer.load(THREAD) == state

    @pytest.mark.parametrize("state", [{"text": "\ud800"}, {"\udfff": 1}, {"deep": [{"text": "a\udc00b"}]}])
    async def test_a_lone_surrogate_is_refused_before_anything_is_written(
        self, checkpointer: BaseCheckpointer, state: dict[str, Any]
    ) -> None:
        await checkpointer.save({"n": 1}, THREAD, "kept")
        with pytest.raises(CheckpointError):
            await checkpointer.save(state, THREAD)
        assert await checkpointer.list_checkpoints(THREAD) == ["kept"]
        assert await checkpointer.load(THREAD) == {"n": 1}

    @pytest.mark.parametrize(
        "metadata", [{"tag": "\ud800"}, {"\udfff": 1}, {"tags": ["a\udc00b"]}, {"n": float("nan")}]
    )
    async def test_metadata_that_json_cannot_hold_is_refused_before_anything_is_written(
        self, checkpointer: BaseCheckpointer, metadata: dict[str, Any]
    ) -> None:
        with pytest.raises(CheckpointError):
            await checkpointer.save({"n": 1}, THREAD, metadata=metadata)
        assert not await checkpointer.exists(THREAD)

    @pytest.mark.parametrize("state", ["text", 1, None, ["list"], object(), {"value": object()}])
    async def test_what_is_no_state_is_refused_before_anything_is_written(
        self, checkpointer: BaseCheckpointer, state: Any
    ) -> None:
        with pytest.raises(CheckpointError):
            await checkpointer.save(state, THREAD)
        assert not await checkpointer.exists(THREAD)

    @pytest.mark.parametrize("depth", [100, 180, 190, 195, 199, 200, 201, 225, 254, 300, 100_000])
    async def test_a_deeply_nested_state_comes_back_or_is_refused(
        self, checkpointer: BaseCheckpointer, depth: int
    ) -> None:
        await checkpointer.save({}, THREAD, "kept")
        state: dict[str, Any] = {}
        for _ in range(depth):
            state = {"k": state}
        try:
            await checkpointer.save(state, THREAD)
        except CheckpointError:
            assert depth > 100
            assert await checkpointer.list_checkpoints(THREAD) == ["kept"]
            return
        assert await checkpointer.load(THREAD) == state

    @requires("metadata_query")
    @pytest.mark.parametrize("depth", [1, 50, 150, 190, 199, 250, 600, 100_000])
    async def test_deeply_nested_metadata_come_back_or_are_refused(
        self, checkpointer: BaseCheckpointer, depth: int
    ) -> None:
        await checkpointer.save({}, THREAD, "kept", {"n": 1})
        nested: Any = "x"
        for _ in range(depth):
            nested = [nested]
        try:
            await checkpointer.save({}, THREAD, metadata={"nested": nested})
        except CheckpointError:
            assert depth > 50
            assert await checkpointer.get_metadata(THREAD) == {"n": 1}
            return
        assert await checkpointer.get_metadata(THREAD) == {"nested": nested}
        assert len(await checkpointer.query_by_metadata("nested", nested)) == 1

    async def test_what_is_stored_does_not_change_with_what_was_saved(self, checkpointer: BaseCheckpointer) -> None:
        state: dict[str, Any] = {"messages": ["one"]}
        await checkpointer.save(state, THREAD)
        state["messages"].append("two")
        assert await checkpointer.load(THREAD) == {"messages": ["one"]}

    async def test_what_is_stored_does_not_change_with_what_was_loaded(self, checkpointer: BaseCheckpointer) -> None:
        await checkpointer.save({"messages": ["one"]}, THREAD)
        loaded: Any = await checkpointer.load(THREAD)
        loaded["messages"].append("two")
        assert await checkpointer.load(THREAD) == {"messages": ["one"]}

    @requires("metadata_query")
    async def test_stored_metadata_does_not_change_with_what_was_saved_or_read(
        self, checkpointer: BaseCheckpointer
    ) -> None:
        metadata: dict[str, Any] = {"tags": ["one"]}
        await checkpointer.save({}, THREAD, metadata=metadata)
        metadata["tags"].append("two")
        read: Any = await checkpointer.get_metadata(THREAD)
        assert read == {"tags": ["one"]}
        read["tags"].append("three")
        [found] = await checkpointer.query_by_metadata("tags", "one")
        found["metadata"]["tags"].append("four")
        assert await checkpointer.get_metadata(THREAD) == {"tags": ["one"]}

    @_EXAMPLES
    @given(state=_STATES)
    async def test_any_json_object_comes_back_equal(
        self, checkpointer: BaseCheckpointer, state: dict[str, Any]
    ) -> None:
        await checkpointer.save(state, THREAD, "same")
        assert await checkpointer.load(THREAD, "same") == state

    @requires("metadata_query")
    @_EXAMPLES
    @given(metadata=_METADATA)
    async def test_any_metadata_come_back_equal_and_are_found_by_each_field(
        self, checkpointer: BaseCheckpointer, metadata: dict[str, Any]
    ) -> None:
        await checkpointer.save({}, THREAD, "same", metadata)
        assert await checkpointer.get_metadata(THREAD, "same") == metadata
        for key, value in metadata.items():
            [found] = await checkpointer.query_by_metadata(key, value)
            assert found["metadata"] == metadata
