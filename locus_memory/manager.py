"""Long-term memory: draws facts from conversations, keeps them consistent, and recalls what fits.

    async def model(instructions: str, data: str) -> str: ...   # any language model

    manager = LLMMemoryManager(locus_memory.store(), model, namespace_prefix=("users", "u42"))
    await manager.remember([{"role": "user", "content": "I moved to Lisbon."}], thread_id="t1")
    await manager.recall("Where does the user live?")

or, in an agent of locus-sdk, `Agent(..., memory_manager=manager)`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from locus_memory.errors import InvalidArgumentError, MemoryModelError
from locus_memory.memories import Changes, Memory, MemoryType, Source, memory_of, new_key, normalised, one_line
from locus_memory.memory_model import Delete, Fact, MemoryModel, Model, Update
from locus_memory.memory_recall import by_words, with_block
from locus_memory.store import BaseStore, Namespace
from locus_memory.store_arguments import check_namespace
from locus_memory.utterances import Utterance, utterances, window

__all__ = ["Changes", "LLMMemoryManager", "Memory", "MemoryType"]

_LOG = logging.getLogger(__name__)

Embed = Callable[[Sequence[str]], Awaitable[Sequence[Sequence[float]]]]
"""Embeds texts, one vector for each."""

RELATED: Final = 30
"""Memories that a model is shown to decide about new facts."""

_RELATED_TO_EACH: Final = 5
_REMEMBERED_MESSAGES: Final = 2000

_SCOPE: ContextVar[tuple[object, Namespace] | None] = ContextVar("locus_memory_scope", default=None)


@dataclass(slots=True)
class _Plan:
    added: list[Memory] = field(default_factory=list)
    updated: list[Memory] = field(default_factory=list)
    retired: list[Memory] = field(default_factory=list)


class LLMMemoryManager:
    """Memories of one user, or of several, on any cross-thread store.

    A conversation that is given again, whole or longer, is not gone through again: messages are known by digests. The
    name of a memory follows from what it says, so two processes that draw the same one write the same item. A model
    that fails changes nothing, and the conversation counts as not seen.

    Below `namespace_prefix` there are three namespaces: `memories`, `retired` (recallable by a person for
    `retired_days`), `conversations` (digests of what was gone through).

    Args:
        store: Where memories are kept.
        model: Async callable that gets instructions and data, and returns a language model's answer.
        namespace_prefix: Whose memories these are, such as `("users", "u42")`.
        namespace_resolver: For agents of locus-sdk: gets a run's `RunInfo`, returns the prefix; None: no memory.
        embed: Embeds texts; the store must have been made with that dimension. None: recall goes by words.
        model_name: Kept with each memory.
        max_memories: At least 1; beyond it those that changed longest ago are retired.
        retrieve_limit: Memories that a recall returns, at least 1.
        max_prompt_characters: Of the messages in one prompt, at least 1,000; newer ones are shown first.
        model_timeout: Seconds for one answer, above 0.
        attempts: How often the model is asked before its failure is an error, at least 1.
        retired_days: Above 0; where the store has no TTL, what is retired is deleted at once.

    Raises:
        InvalidArgumentError: One of them is out of its bounds, or `embed` is given and the store keeps no embeddings.
    """

    def __init__(
        self,
        store: BaseStore,
        model: Model,
        *,
        namespace_prefix: Namespace = ("locus_memory",),
        namespace_resolver: Callable[[Any], Namespace | None] | None = None,
        embed: Embed | None = None,
        model_name: str | None = None,
        max_memories: int = 200,
        retrieve_limit: int = 20,
        max_prompt_characters: int = 16_000,
        model_timeout: float = 60.0,
        attempts: int = 2,
        retired_days: float = 30,
    ) -> None:
        check_namespace(namespace_prefix, name="namespace_prefix")
        if embed is not None and not store.capabilities.semantic_search:
            raise InvalidArgumentError("embed: make the store with the dimension of the embeddings")
        bounds = {
            "max_memories": (max_memories, 1),
            "retrieve_limit": (retrieve_limit, 1),
            "max_prompt_characters": (max_prompt_characters, 1000),
            "model_timeout": (model_timeout, 0.001),
            "attempts": (attempts, 1),
            "retired_days": (retired_days, 0.001),
        }
        for name, (value, lowest) in bounds.items():
            if value < lowest:
                raise InvalidArgumentError(f"{name}: write at least {lowest}, not {value!r}")
        self.store = store
        self.namespace_prefix = namespace_prefix
        self.namespace_resolver = namespace_resolver
        self.max_memories = max_memories
        self.retrieve_limit = retrieve_limit
        self._model = MemoryModel(model, timeout=model_timeout, attempts=attempts)
        self._model_name = model_name
        self._embed = embed
        self._budget = max_prompt_characters
        self._retired_seconds = retired_days * 24 * 3600

    @property
    def active_namespace(self) -> Namespace:
        """Whose memories the current task works on."""
        scope = _SCOPE.get()
        return scope[1] if scope is not None and scope[0] is self else self.namespace_prefix

    @contextmanager
    def scoped(self, namespace_prefix: Namespace) -> Iterator[None]:
        """Work on somebody else's memories within the context; other tasks are not concerned."""
        check_namespace(namespace_prefix, name="namespace_prefix")
        token = _SCOPE.set((self, namespace_prefix))
        try:
            yield
        finally:
            _SCOPE.reset(token)

    async def remember(
        self,
        messages: Iterable[object],
        *,
        thread_id: str | None = None,
        run_id: str | None = None,
        checkpoint_id: str | None = None,
    ) -> Changes:
        """Draw memories from what is new in a conversation, and make them consistent with those that there are.

        Args:
            messages: The conversation so far: mappings or objects with `role` and `content`.
            thread_id: Its name; without one it is known by its first message.
            run_id, checkpoint_id: Kept with what is remembered.

        Raises:
            MemoryModelError: The model failed or gave no valid answer; nothing was changed.
            BackendUnavailableError: The store is away; what was not written is when the conversation is given again.
        """
        said = utterances(messages)
        if not said:
            return Changes()
        place = (self._namespace("conversations"), thread_id or f"begins with {said[0].digest}")
        seen = list((await self.store.get(*place) or {}).get("digests", ()))
        if all(each.digest in seen or each.role != "user" for each in said):
            return Changes()
        # A single text may not fill the whole prompt: what was said before it has to be seen as well.
        longest = self._budget // 4
        part = window(said, set(seen), self._budget, longest)
        if part.skipped:
            _LOG.warning("%d messages did not fit into a prompt of %d characters", part.skipped, self._budget)
        facts = await self._model.facts(part, longest)
        source = Source(
            thread_id=thread_id,
            run_id=run_id,
            checkpoint_id=checkpoint_id,
            model=self._model_name,
            at=datetime.now(UTC),
        )
        plan = await self._plan(facts, source, part.shown)
        await self._write(plan)
        digests = list(dict.fromkeys([*seen, *[each.digest for each in said]]))[-_REMEMBERED_MESSAGES:]
        await self.store.put(*place, {"digests": digests})
        return Changes(tuple(plan.added), tuple(plan.updated), tuple(plan.retired), part.skipped)

    async def recall(self, query: str | None = None, limit: int | None = None) -> list[Memory]:
        """Return the memories that fit a text best, then those that changed last.

        Args:
            query: The text, usually what the user has just said; None: those that changed last.
            limit: At least 1; `retrieve_limit` by default.

        Raises:
            MemoryModelError: The text could not be embedded.
        """
        count = self.retrieve_limit if limit is None else limit
        if not query or not query.strip():
            return await self._newest(count)
        newest = await self._newest(self.max_memories if self._embed is None else count)
        fitting = by_words(newest, query) if self._embed is None else (await self._nearest([query], count))[0]
        return list({memory.key: memory for memory in (*fitting, *newest)}.values())[:count]

    async def memories(self) -> list[Memory]:
        """Return all memories, those that changed last first."""
        return await self._newest(self.max_memories + RELATED)

    async def retired(self) -> list[Memory]:
        """Return what is no longer recalled and not yet gone, the latest first."""
        return [memory_of(item) for item in await self.store.search(self._namespace("retired"), limit=1000)]

    async def save(self, memories: Sequence[Memory]) -> None:
        """Write memories as they are, in place of those of the same keys."""
        await self._put(list(memories))

    async def forget(self, key: str) -> bool:
        """Erase a memory, with all that it said before, retired or not; tell whether it was there."""
        return any([await self.store.delete(self._namespace(kind), key) for kind in ("memories", "retired")])

    async def forget_all(self) -> int:
        """Erase all that is kept below the prefix; return how many memories that were, retired ones included.

        Conversations themselves are kept elsewhere: a checkpointer deletes them. Given again, they are remembered
        again.
        """
        counts = [await self.store.clear_namespace(self._namespace(kind)) for kind in ("memories", "retired")]
        await self.store.clear_namespace(self._namespace("conversations"))
        return sum(counts)

    async def retrieve(self, limit: int | None = None, *, query: str | None = None) -> list[Memory]:
        """Do the same as `recall`, with the parameters of locus-sdk."""
        return await self.recall(query, limit)

    async def retrieve_relevant(self, query: str | None, limit: int | None = None) -> list[Memory]:
        """Do the same as `recall`."""
        return await self.recall(query, limit)

    async def on_session_start(self, state: Any) -> Any:
        """Return a run's state with the memories that fit its prompt; locus-sdk's `Agent` calls this.

        A store or model that fails is logged and costs the run its memories, not its answer.
        """
        namespace = self._namespace_of(state)
        if namespace is None:
            return with_block(state, ())
        prompts = [each.text for each in utterances(state.messages) if each.role == "user"]
        try:
            with self.scoped(namespace):
                return with_block(state, await self.recall(prompts[-1] if prompts else None))
        except Exception:  # noqa: BLE001 - memory is an aid: whatever fails in it must not cost the answer
            _LOG.warning("a run goes on without its memories", exc_info=True)
            return with_block(state, ())

    async def on_session_end(self, state: Any) -> None:
        """Remember a run's conversation; locus-sdk's `Agent` calls this.

        A store or model that fails is logged; the next run of the conversation makes up for it.
        """
        namespace = self._namespace_of(state)
        if namespace is None:
            return
        thread_id = state.metadata.get("thread_id")
        try:
            with self.scoped(namespace):
                await self.remember(state.messages, thread_id=thread_id, run_id=state.run_id)
        except Exception:  # noqa: BLE001 - as at its start
            _LOG.warning("a conversation was not remembered", exc_info=True)

    async def drain(self) -> None:
        """Release the store's connections of the running event loop; a later call reopens.

        locus-sdk calls this where a loop ends: at the end of each `run_sync`, and by `Agent.drain_memory()`. Nothing is
        remembered in the background, so that there is nothing to wait for.
        """
        await self.store.close()

    def __repr__(self) -> str:
        return f"LLMMemoryManager({self.store!r}, namespace_prefix={self.namespace_prefix!r})"

    def _namespace(self, kind: str) -> Namespace:
        return (*self.active_namespace, kind)

    def _namespace_of(self, state: Any) -> Namespace | None:
        if self.namespace_resolver is None:
            return self.active_namespace
        from locus.core.events import RunInfo

        run = RunInfo.build(run_id=state.run_id, thread_id=None, metadata=state.metadata, agent_name=state.agent_id)
        try:
            return self.namespace_resolver(run)
        except Exception:  # noqa: BLE001 - it is somebody else's code
            # Never somebody else's memories, nor those of all.
            _LOG.warning("namespace_resolver failed: the run has no memory", exc_info=True)
            return None

    async def _plan(self, facts: Sequence[Fact], source: Source, shown: Sequence[Utterance]) -> _Plan:
        plan = _Plan()
        if not facts:
            return plan
        known = await self.memories()
        said = {normalised(memory.content) for memory in known}
        fresh = [fact for fact in facts if fact.forget or normalised(fact.content) not in said]
        related = await self._related(fresh, known) if fresh and known else []
        taken = {memory.key for memory in known}

        def drawn_from(fact: Fact) -> Source:
            return source.model_copy(update={"messages": tuple(shown[number - 1].digest for number in fact.sources)})

        def add(fact: Fact) -> None:
            content = one_line(fact.content)
            if normalised(content) not in said:
                said.add(normalised(content))
                key = new_key(fact.type, content, taken)
                taken.add(key)
                plan.added.append(Memory(type=fact.type, key=key, content=content, sources=(drawn_from(fact),)))

        if not related:
            for fact in fresh:
                if not fact.forget:
                    add(fact)
        else:
            for decision in await self._model.decisions(fresh, related):
                fact = fresh[decision.fact - 1]
                if isinstance(decision, Update):
                    memory, content = related[decision.memory - 1], one_line(decision.content)
                    if normalised(content) != normalised(memory.content):
                        plan.updated.append(memory.replaced(content, drawn_from(fact)))
                elif isinstance(decision, Delete):
                    plan.retired.append(related[decision.memory - 1])
                elif decision.action == "add":
                    add(fact)
        changed = {memory.key for memory in (*plan.updated, *plan.retired)}
        unchanged = [memory for memory in known if memory.key not in changed]
        plan.retired += unchanged[max(0, self.max_memories - len(plan.added) - len(plan.updated)) :]
        return plan

    async def _related(self, facts: Sequence[Fact], known: Sequence[Memory]) -> list[Memory]:
        if len(known) <= RELATED:
            return list(known)
        if self._embed is None:
            found = [by_words(known, fact.content)[:_RELATED_TO_EACH] for fact in facts]
        else:
            found = await self._nearest([fact.content for fact in facts], _RELATED_TO_EACH)
        # The best of each first, so that no fact takes all the room.
        ranked = [some[rank] for rank in range(_RELATED_TO_EACH) for some in found if rank < len(some)]
        return list({memory.key: memory for memory in ranked}.values())[:RELATED]

    async def _write(self, plan: _Plan) -> None:
        # What is retired goes last, and is there twice before it is gone: a process that dies loses nothing.
        await self._put([*plan.added, *plan.updated])
        for memory in plan.retired:
            if self.store.capabilities.ttl:
                value = memory.model_dump(mode="json")
                await self.store.put(self._namespace("retired"), memory.key, value, ttl_seconds=self._retired_seconds)
            await self.store.delete(self._namespace("memories"), memory.key)

    async def _put(self, memories: Sequence[Memory]) -> None:
        namespace = self._namespace("memories")
        items = [
            (namespace, memory.key, memory.model_dump(mode="json"), {"type": memory.type.value}) for memory in memories
        ]
        if not items:
            return
        if self._embed is None:
            await self.store.put_batch(items, ttl_seconds=None)
            return
        vectors = await self._embedded([memory.content for memory in memories])
        for (_, key, value, metadata), vector in zip(items, vectors, strict=True):
            await self.store.put_with_embedding(namespace, key, value, vector, metadata, ttl_seconds=None)

    async def _newest(self, count: int) -> list[Memory]:
        return [memory_of(item) for item in await self.store.search(self._namespace("memories"), limit=count)]

    async def _nearest(self, texts: Sequence[str], count: int) -> list[list[Memory]]:
        namespace = self._namespace("memories")
        return [
            [memory_of(hit.item) for hit in await self.store.search_by_embedding(namespace, vector, count)]
            for vector in await self._embedded(texts)
        ]

    async def _embedded(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        assert self._embed is not None  # noqa: S101 - called where there is one
        try:
            vectors = await self._embed(texts)
        except Exception as error:
            raise MemoryModelError(f"embedding failed: {type(error).__name__}") from error
        if len(vectors) != len(texts):
            raise MemoryModelError(f"embedding returned {len(vectors)} vectors for {len(texts)} texts")
        return vectors
