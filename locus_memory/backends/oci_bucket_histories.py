"""Looking through a thread, and making its next head: which entries it has, newest first, and where they are."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Final

from locus_memory.backends.oci_bucket_layout import (
    fingerprint_of,
    new_page,
    part_fingerprint,
    part_object,
    stored_at,
    writes_on,
)
from locus_memory.backends.oci_bucket_records import (
    Entry,
    Head,
    Page,
    encode_page,
    fingerprint,
    namespace_fingerprint,
    part_print,
)
from locus_memory.backends.oci_bucket_threads import Threads, VanishedError

TAIL: Final = 64
"""Checkpoints that a head describes itself, at most."""

PAGE_ENTRIES: Final = 32
"""Checkpoints that go to a page together when the tail is full."""


class History:
    """The checkpoints of one thread as a head has them.

    Args:
        threads: Where pages are.
        head: Not changed; `head` is the one that the changes have made.
        since: What was written earlier has expired: it is not found, and what it needs may be gone.
        parts_since: Parts that were stored earlier may be gone; by default the same time.
    """

    def __init__(self, threads: Threads, head: Head, since: datetime, parts_since: datetime | None = None) -> None:
        self._threads = threads
        self._since = since
        self._parts_since = parts_since or since
        self._pages: dict[str, list[Entry]] = {}
        self._released: set[bytes] = set()
        self.head = head

    async def newest_first(self, namespace: str | None = None) -> AsyncIterator[Entry]:
        """Walk the checkpoints of a namespace, or of all; pages are read when they are reached."""
        for entry in reversed(self.head.tail):
            if self._wanted(entry, namespace):
                yield entry
        wanted = None if namespace is None else namespace_fingerprint(namespace)
        for page in reversed(self.head.pages):
            if page.newest >= self._since and (wanted is None or wanted in page.namespaces):
                for entry in reversed(await self._entries(page)):
                    if self._wanted(entry, namespace):
                        yield entry

    async def find(self, checkpoint_id: str | None, namespace: str) -> Entry | None:
        """Return one checkpoint, by default the latest of the namespace."""
        if checkpoint_id is None:
            async for entry in self.newest_first(namespace):
                return entry
            return None
        found = await self._locate(checkpoint_id, namespace)
        return found[0] if found and self._wanted(found[0], namespace) else None

    async def parts(self, namespace: str, names: Iterable[str], since: datetime) -> dict[str, bytes]:
        """Return the ids of stored parts by name, without those that are not stored, or were before a time."""
        wanted = {part_fingerprint(namespace, name): name for name in names}
        found: dict[str, bytes] = {}

        def look(entries: Iterable[Entry]) -> None:
            for entry in entries:
                if wanted and self._wanted(entry, namespace):
                    for part in entry.parts:
                        if fingerprint_of(part) in wanted and stored_at(part) >= since:
                            found[wanted.pop(fingerprint_of(part))] = part

        look(reversed(self.head.tail))
        for page in reversed(self.head.pages):
            if page.newest >= self._since and not page.parts.isdisjoint(map(part_print, wanted)):
                look(reversed(await self._entries(page)))
        return found

    async def drop_parts(self) -> None:
        """Take out the parts that only checkpoints needed which have been taken out."""
        unused = self._released.difference(*(entry.parts for entry in self.head.tail))
        for page in self.head.pages:
            if not page.parts.isdisjoint(map(part_print, unused)):
                unused.difference_update(*(entry.parts for entry in await self._entries_left(page)))
        self._released = set()
        self.discard(part_object(self.head.incarnation, part) for part in sorted(unused))

    def discard(self, names: Iterable[str]) -> None:
        """Have objects deleted; see `Head.garbage`."""
        if found := tuple(names):
            self.head = replace(self.head, garbage=(*self.head.garbage, *found))

    async def remove(self, checkpoint_id: str, namespace: str) -> bool:
        """Take out a checkpoint; tell whether it was there."""
        found = await self._locate(checkpoint_id, namespace)
        if found is None:
            return False
        entry, page = found
        self._released.update(entry.parts)
        if page is None:
            tail = tuple(each for each in self.head.tail if each is not entry)
            self.head = replace(self.head, tail=tail, garbage=(*self.head.garbage, entry.name))
        else:
            await self._thin_out(page, lambda each: each.name != entry.name)
        return self._wanted(entry, namespace)

    async def remove_before(self, before: datetime) -> list[Entry]:
        """Take out all checkpoints written before a time, and return them."""
        gone = [entry for entry in self.head.tail if entry.created_at < before]
        tail = tuple(entry for entry in self.head.tail if entry.created_at >= before)
        if gone:
            self.head = replace(self.head, tail=tail)
            self.discard(entry.name for entry in gone)
        for page in self.head.pages:
            if page.oldest < before:
                gone += await self._thin_out(page, lambda entry: entry.created_at >= before)
        self._released.update(*(entry.parts for entry in gone))
        return gone

    async def keep_newest(self, count: int) -> list[Entry]:
        """Take out all checkpoints but the newest ones of each namespace, and return them."""
        left: dict[str, int] = {}

        def keep(entry: Entry) -> bool:
            left[entry.namespace] = left.get(entry.namespace, count) - 1
            return left[entry.namespace] >= 0

        kept = {entry.name for entry in reversed(self.head.tail) if keep(entry)}
        gone = [entry for entry in self.head.tail if entry.name not in kept]
        if gone:
            self.head = replace(self.head, tail=tuple(entry for entry in self.head.tail if entry.name in kept))
            self.discard(entry.name for entry in gone)
        for page in reversed(self.head.pages):
            entries = await self._entries_left(page)
            surplus = {entry.name for entry in reversed(entries) if not keep(entry)}
            if surplus or not entries:
                gone += await self._thin_out(page, _all_but(surplus))
        self._released.update(*(entry.parts for entry in gone))
        return gone

    async def append(self, entry: Entry) -> None:
        """Make a checkpoint the latest."""
        tail = (*self.head.tail, entry)
        self.head = replace(self.head, tail=tail, next_sequence=self.head.next_sequence + 1)
        if len(tail) > TAIL:
            await self.fold()

    async def fold(self) -> None:
        """Move the oldest of an overlong tail to pages."""
        tail, pages = list(self.head.tail), []
        while len(tail) > TAIL:
            pages.append(await self._write(tail[:PAGE_ENTRIES]))
            tail = tail[PAGE_ENTRIES:]
        self.head = replace(self.head, tail=tuple(tail), pages=(*self.head.pages, *pages))

    async def names(self) -> AsyncIterator[str]:
        """All that the head refers to, below the thread's data, expired or not; of writes what the names start with."""
        for garbage in self.head.garbage:
            yield garbage.partition("?")[0]
        for name in self._names(self.head.tail):
            yield name
        for page in self.head.pages:
            yield page.name
            for name in self._names(await self._entries_left(page)):
                yield name

    def _names(self, entries: Iterable[Entry]) -> Iterator[str]:
        incarnation = self.head.incarnation
        for entry in entries:
            yield entry.name
            yield writes_on(incarnation, entry.namespace, entry.checkpoint_id)
            yield from (part_object(incarnation, part) for part in entry.parts)

    async def _locate(self, checkpoint_id: str, namespace: str) -> tuple[Entry, Page | None] | None:
        key = (namespace, checkpoint_id)
        for entry in reversed(self.head.tail):
            if (entry.namespace, entry.checkpoint_id) == key:
                return entry, None
        wanted = fingerprint(namespace, checkpoint_id)
        for page in reversed(self.head.pages):
            if page.newest >= self._since and wanted in page.prints:
                for entry in await self._entries(page):
                    if (entry.namespace, entry.checkpoint_id) == key:
                        return entry, page
        return None

    async def _thin_out(self, page: Page, keep: Callable[[Entry], bool]) -> list[Entry]:
        entries = await self._entries_left(page)
        kept = [entry for entry in entries if keep(entry)]
        gone = [entry for entry in entries if not keep(entry)]
        pages: Iterable[Page] = [await self._write(kept)] if kept else []
        self.head = replace(
            self.head,
            pages=tuple(itertools.chain.from_iterable(pages if each is page else [each] for each in self.head.pages)),
            garbage=(*self.head.garbage, page.name, *(entry.name for entry in gone)),
        )
        return gone

    async def _write(self, entries: list[Entry]) -> Page:
        name = new_page(self.head.incarnation)
        await self._threads.store.put(self._threads.layout.data_of(self.head.thread_id) + name, [encode_page(entries)])
        self._pages[name] = entries
        return Page.of(name, entries)

    async def _entries(self, page: Page) -> list[Entry]:
        if page.name not in self._pages:
            self._pages[page.name] = await self._threads.page(self.head.thread_id, page)
        return self._pages[page.name]

    async def _entries_left(self, page: Page) -> list[Entry]:
        try:
            return await self._entries(page)
        except VanishedError:
            # A lifecycle rule deletes pages that are as old as all that they describe.
            return []

    def _wanted(self, entry: Entry, namespace: str | None) -> bool:
        # It expires with the oldest object that it needs.
        expired = entry.created_at < self._since or any(stored_at(part) < self._parts_since for part in entry.parts)
        return not expired and namespace in (None, entry.namespace)


def _all_but(names: set[str]) -> Callable[[Entry], bool]:
    return lambda entry: entry.name not in names
