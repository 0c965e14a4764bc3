"""A store of one's own in six methods, its suite, and the same with the defects that stores have been seen with."""

import copy
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from locus_memory.arguments import check_limit, checked_metadata
from locus_memory.metadata import matches
from locus_memory.store import STORE_DEFAULT, BaseStore, Namespace, StoreItem, TimeToLive
from locus_memory.store_arguments import check_namespace, check_place, content_text, namespace_text
from locus_memory.store_port import count_words, rank
from locus_memory.testing import StoreContract
from locus_memory.text import searchable_text, words

# Named out here: within the class `list` is a method.
Items = list[StoreItem]
Keys = list[str]
Namespaces = list[Namespace]


class OwnStore(BaseStore):
    """Items in a list, last written last."""

    def __init__(self) -> None:
        self._items: Items = []

    def place(self, namespace: Namespace) -> Any:
        return namespace

    def keep(self, value: Any) -> Any:
        return copy.deepcopy(value)

    async def put(
        self,
        namespace: Namespace,
        key: str,
        value: Any,
        metadata: Mapping[str, Any] | None = None,
        *,
        ttl_seconds: TimeToLive = STORE_DEFAULT,
    ) -> None:
        check_place(namespace, key)
        content_text(value, {})
        before, now = await self.get_item(namespace, key), datetime.now(UTC)
        created, version = (before.created_at, before.version + 1) if before else (now, 1)
        await self.delete(namespace, key)
        self._items.append(
            StoreItem(namespace, key, self.keep(value), checked_metadata(metadata), created, now, version)
        )

    async def get_item(self, namespace: Namespace, key: str) -> StoreItem | None:
        check_place(namespace, key)
        found = [item for item in self._in(namespace) if item.key == key]
        return self.keep(found[0]) if found else None

    async def delete(self, namespace: Namespace, key: str) -> bool:
        check_place(namespace, key)
        found = [item for item in self._in(namespace) if item.key == key]
        self._items = [item for item in self._items if item not in found]
        return bool(found)

    async def list(self, namespace: Namespace, limit: int = 100) -> Keys:
        check_limit(limit)
        return sorted((item.key for item in self._in(namespace)), key=str.encode)[:limit]

    async def search(
        self,
        namespace: Namespace,
        query: str | None = None,
        limit: int = 10,
        *,
        metadata_filter: Mapping[str, Any] | None = None,
    ) -> Items:
        check_limit(limit)
        wanted, terms = checked_metadata(metadata_filter), list(dict.fromkeys(words(query or "")))
        found = [item for item in self._in(namespace)[::-1] if self.fits(item, wanted)]
        if terms:
            ranked = [(rank(count_words(searchable_text(item.value)), terms), item) for item in found]
            found = [item for count, item in sorted(ranked, key=lambda each: -each[0]) if count]
        return [self.keep(item) for item in self.cut(found, limit, wanted)]

    def fits(self, item: StoreItem, wanted: Mapping[str, Any]) -> bool:
        return all(matches(item.metadata, name, value) for name, value in wanted.items())

    def cut(self, found: Items, limit: int, wanted: Mapping[str, Any]) -> Items:
        return found[:limit]

    async def list_namespaces(self, prefix: Namespace | None = None, limit: int = 100) -> Namespaces:
        check_namespace(prefix or (), name="prefix", empty=True)
        check_limit(limit)
        below = {item.namespace for item in self._items if item.namespace[: len(prefix or ())] == (prefix or ())}
        return sorted(below, key=lambda namespace: namespace_text(namespace).encode())[:limit]

    def _in(self, namespace: Namespace) -> Items:
        check_namespace(namespace)
        return [item for item in self._items if self.place(item.namespace) == self.place(namespace)]


class Aliasing(OwnStore):
    def keep(self, value: Any) -> Any:
        return value


class NoneIsAbsent(OwnStore):
    async def get_item(self, namespace: Namespace, key: str) -> StoreItem | None:
        item = await super().get_item(namespace, key)
        return item if item and item.value is not None else None


class Joining(OwnStore):
    def place(self, namespace: Namespace) -> Any:
        return "/".join(namespace)


class FilteringLast(OwnStore):
    def fits(self, item: StoreItem, wanted: Mapping[str, Any]) -> bool:
        return True

    def cut(self, found: Items, limit: int, wanted: Mapping[str, Any]) -> Items:
        return [item for item in found[:limit] if super(FilteringLast, self).fits(item, wanted)]


class IgnoringFilters(OwnStore):
    def fits(self, item: StoreItem, wanted: Mapping[str, Any]) -> bool:
        return True


class Rounding(OwnStore):
    def keep(self, value: Any) -> Any:
        return value if isinstance(value, StoreItem) else json.loads(json.dumps(value), parse_float=lambda text: 1.0)


def suite_of(store: Callable[..., BaseStore]) -> type[StoreContract]:
    """Return the suite for a store."""

    class Suite(StoreContract):
        lacking = ("semantic_search", "ttl", "transactions")
        persistent = False

        @pytest.fixture
        def factory(self) -> Callable[..., BaseStore]:
            return store

    return Suite


TestOwn = suite_of(OwnStore)
TestAliasing = suite_of(Aliasing)
TestNoneIsAbsent = suite_of(NoneIsAbsent)
TestJoining = suite_of(Joining)
TestFilteringLast = suite_of(FilteringLast)
TestIgnoringFilters = suite_of(IgnoringFilters)
TestRounding = suite_of(Rounding)
