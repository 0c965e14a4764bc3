"""LangGraph's store on ours: the same operations give what LangGraph's own `InMemoryStore` gives."""

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langgraph.store.base import GetOp, Item, ListNamespacesOp, MatchCondition, Op, PutOp, SearchItem, SearchOp
from langgraph.store.memory import InMemoryStore

from locus_memory.binding import URLBinding
from locus_memory.langgraph import LangGraphStore
from locus_memory.opening import open_store

Namespace = tuple[str, ...]
EXAMPLES = settings(
    max_examples=40,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
ROOTS = (f"root{number}" for number in itertools.count())


def embed(texts: Sequence[str]) -> list[list[float]]:
    """Point each text somewhere of its own."""
    return [[byte - 127.5 for byte in hashlib.sha256(text.encode()).digest()[:3]] for text in texts]


class Reference(InMemoryStore):
    """LangGraph's store, without what overwritten and deleted items leave behind in it, and with texts that repeat."""

    def __init__(self, index: Any) -> None:
        super().__init__(index=index)
        self.written: dict[tuple[Namespace, str], int] = {}
        self._batches = itertools.count()

    def batch(self, ops: Any) -> list[Any]:
        ops, number = list(ops), next(self._batches)
        puts = [op for op in ops if isinstance(op, PutOp)]
        results = [None if isinstance(op, PutOp) else self._read(op) for op in ops]
        for op in puts:
            self._vectors[op.namespace].pop(op.key, None)
            self.written[op.namespace, op.key] = number
        super().batch(puts)
        return results

    def _read(self, op: Op) -> Any:
        for namespace in [namespace for namespace, items in self._data.items() if not items]:
            del self._data[namespace]
        return super().batch([op])[0]

    def _insertinmem_store(self, to_embed: dict[str, list[tuple[Namespace, str, str]]], embeddings: Any) -> None:
        for indices, embedding in zip(to_embed.values(), embeddings, strict=True):
            for namespace, key, path in indices:
                self._vectors[namespace][key][path] = embedding


LABELS = st.sampled_from(["a", "b", "cc"])
NAMESPACES = st.lists(LABELS, min_size=1, max_size=3).map(tuple)
PREFIXES = st.lists(LABELS, max_size=2).map(tuple)
KEYS = st.sampled_from(["k", "l", "m"])
TEXTS = st.sampled_from(["tea", "coffee", "milk", "water", "juice"])
VALUES = st.fixed_dictionaries(
    {"n": st.integers(0, 3) | st.sampled_from([1.0, True]), "text": TEXTS},
    optional={
        "tag": st.sampled_from(["x", "y", None, ["x", 1], []]),
        "parts": st.lists(TEXTS, max_size=3, unique=True),
        "nested": st.sampled_from([{"a": 1}, {"a": 1, "b": {"c": 2}}, {}]),
    },
)
FILTERS = st.none() | st.sampled_from(
    [
        {},
        {"n": 1},
        {"n": {"$gte": 1, "$ne": 2}},
        {"n": {"$lt": 2}},
        {"n": {"$gt": 0, "$lte": 2}},
        {"n": {"$eq": 3}},
        {"tag": "x"},
        {"tag": ["x", 1]},
        {"tag": {"$ne": "x"}},
        {"tag": None},
        {"missing": None},
        {"nested": {"a": 1}},
        {"nested": {"b": {"c": {"$gt": 1}}}, "n": {"$gte": 0}},
    ]
)
SMALL = st.integers(0, 4)
PATHS = st.lists(LABELS | st.just("*"), min_size=1, max_size=2).map(tuple)
CONDITIONS = st.builds(MatchCondition, st.sampled_from(["prefix", "suffix"]), PATHS)
INDEXED = st.sampled_from([None, None, False, ["text"], ["nested.a"]])
OPERATIONS = st.one_of(
    st.builds(PutOp, NAMESPACES, KEYS, st.none() | VALUES, INDEXED, st.none()),
    st.builds(PutOp, NAMESPACES, KEYS, VALUES, INDEXED, st.none()),
    st.builds(GetOp, NAMESPACES, KEYS),
    st.builds(SearchOp, PREFIXES, FILTERS, st.integers(0, 6), SMALL, st.none() | TEXTS),
    st.builds(
        ListNamespacesOp,
        st.none() | st.lists(CONDITIONS, max_size=2).map(tuple),
        st.none() | st.integers(1, 3),
        st.integers(0, 5),
        SMALL,
    ),
)
BATCHES = st.lists(st.lists(OPERATIONS, min_size=1, max_size=4), min_size=1, max_size=12)


def below(root: str, op: Op) -> Op:
    """Keep the operations of an example apart from those of others in the same store."""
    if isinstance(op, SearchOp):
        return op._replace(namespace_prefix=(root, *op.namespace_prefix))
    if isinstance(op, ListNamespacesOp):
        moved = [
            condition._replace(path=(root, *condition.path)) if condition.match_type == "prefix" else condition
            for condition in op.match_conditions or ()
        ]
        if not any(condition.match_type == "prefix" for condition in moved):
            moved.append(MatchCondition("prefix", (root,)))
        return op._replace(match_conditions=tuple(moved), max_depth=None if op.max_depth is None else op.max_depth + 1)
    return op._replace(namespace=(root, *op.namespace))


def place(item: Item) -> tuple[Namespace, str]:
    return item.namespace, item.key


def check_search(found: list[SearchItem], op: SearchOp, reference: Reference, before: dict[Any, int]) -> None:
    """Compare by score, then by the batch that wrote an item: which of its items comes first, nobody promises."""

    def rank(score: float | None, where: tuple[Namespace, str]) -> tuple[float, int]:
        return (-9.0, before[where]) if score is None else (round(score, 4), 0)

    everything: Any = InMemoryStore.batch(reference, [op._replace(offset=0, limit=10_000)])[0]
    values = {place(item): (item.value, item.score) for item in everything}
    expected = sorted((rank(item.score, place(item)) for item in everything), reverse=True)
    assert [rank(item.score, place(item)) for item in found] == expected[op.offset : op.offset + op.limit]
    assert len({place(item) for item in found}) == len(found)
    for item in found:
        value, score = values[place(item)]
        assert item.value == value
        assert item.score == (None if score is None else pytest.approx(score, abs=1e-5))


INDEXES: dict[str, Any] = {
    "no index": None,
    "whole values": {"dims": 3, "embed": embed},
    "one field": {"dims": 3, "embed": embed, "fields": ["text"]},
    "several fields": {"dims": 3, "embed": embed, "fields": ["text", "parts[*]"]},
}


URLS = ("memory", "postgresql", "redis", "oracle")


@pytest.fixture(params=URLS)
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """An empty store of each kind."""
    if request.param == "memory":
        yield "memory:"
    elif request.param == "postgresql":
        yield request.getfixturevalue("postgresql_database").dsn()
    elif request.param == "redis":
        yield f"{request.getfixturevalue('redis_url')}?key_prefix={request.getfixturevalue('redis_prefix')}"
    else:
        yield request.getfixturevalue("oracle_store").url()


def opened(url: str, index: Any = None, **options: Any) -> LangGraphStore:
    dimension = None if index is None else index["dims"]
    return LangGraphStore(open_store(URLBinding(url), dimension=dimension), index=index, **options)


@pytest.mark.parametrize(
    ("url", "index"),
    # Oracle keeps one embedding for an item, and says so.
    [(url, index) for url in URLS for index in INDEXES if (url, index) != ("oracle", "several fields")],
    indirect=["url"],
)
def test_random_batches_give_what_langgraphs_own_store_gives(url: str, index: str) -> None:
    store = opened(url, INDEXES[index])

    @EXAMPLES
    @given(BATCHES)
    def run(batches: list[list[Op]]) -> None:
        root, reference = next(ROOTS), Reference(INDEXES[index])
        for batch in batches:
            ops, before = [below(root, op) for op in batch], dict(reference.written)
            ours = store.batch(ops)
            for op, mine in zip(ops, ours, strict=True):
                if isinstance(op, SearchOp):
                    check_search(mine, op, reference, before)  # type: ignore[arg-type]  # the answer to a search
            for op, mine, theirs in zip(ops, ours, reference.batch(ops), strict=True):
                if isinstance(op, GetOp):
                    assert getattr(mine, "value", None) == getattr(theirs, "value", None)
                elif not isinstance(op, SearchOp):
                    assert mine == theirs, op

    run()
    store.close()
