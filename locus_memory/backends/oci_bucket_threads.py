"""Heads: reading them, and changing them such that of several writers one wins.

Everything of a thread but its head is written once under a name of its own, before the head that names it; so a
writer that dies leaves at most objects that nothing refers to. A thread is deleted by putting an empty head in the
place of its head, then deleting its data, then the empty head; whoever meets an empty head finishes this.

A thread that has pending writes and no checkpoint yet has a newborn head: empty as well, so that it is not listed, and
marked as what it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import weakref
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Generic, TypeVar

from locus_memory.backends.oci_bucket_client import BORN, INCARNATION, Found, ObjectStore
from locus_memory.backends.oci_bucket_errors import ChangedError
from locus_memory.backends.oci_bucket_layout import Layout, new_incarnation
from locus_memory.backends.oci_bucket_records import Entry, Head, Page, decode_head, decode_page, encode_head
from locus_memory.errors import CheckpointConflictError, CorruptCheckpointError, MissingPartsError
from locus_memory.loops import PerLoop

T = TypeVar("T")

_CACHED_HEADS: Final = 256
_MAX_PAUSE_SECONDS: Final = 0.5
_BATCH: Final = 100


@dataclass(frozen=True, slots=True)
class Known:
    """A head as it was read or written.

    Attributes:
        head: None when there is no such thread.
        etag: Of the object; None when there is none.
    """

    head: Head | None = None
    etag: str | None = None


@dataclass(frozen=True, slots=True)
class Changed(Generic[T]):
    """What an edit wants.

    Attributes:
        head: To be written; None to delete the thread. The very head that was given, to leave it.
        result: Of the call.
    """

    head: Head | None
    result: T


class VanishedError(Exception):
    """An object that a head names is not there: the head has changed meanwhile, or somebody has deleted the object."""


class Threads:
    """The threads below the prefix of a connection."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store
        # Only hints: writing is conditional on the ETag, so that a stale one costs a request and nothing else.
        self._cache: dict[str, Known] = {}
        self._layout = Layout(store.connection.prefix)
        self._locks: PerLoop[weakref.WeakValueDictionary[str, asyncio.Lock]] = PerLoop(
            weakref.WeakValueDictionary, _nothing_to_close, lambda _: None
        )

    @property
    def layout(self) -> Layout:
        """Names of objects."""
        if self._layout.given != self.store.connection.prefix:
            self._layout = Layout(self.store.connection.prefix)
        return self._layout

    async def look(self, thread_id: str, search: Callable[[Head], Awaitable[T]], nothing: T) -> T:
        """Search in a thread as it is now; return `nothing` when there is no such thread.

        Raises:
            CorruptCheckpointError: An object that the thread consists of is not there.
        """
        seen: str | None = None
        while True:
            known, _ = await self._read(thread_id)
            self._remember(thread_id, known)
            if known.head is None:
                return nothing
            try:
                return await search(known.head)
            except VanishedError as error:
                if known.etag == seen:
                    raise _lost(thread_id, error) from error
                seen = known.etag

    async def known(self, thread_id: str) -> Known:
        """Return the head as this process last saw it, or as it is now."""
        return self._cache.get(thread_id) or await self._read_settled(thread_id)

    async def update(
        self,
        thread_id: str,
        edit: Callable[[Head | None], Awaitable[Changed[T]]],
        hint: Known | None = None,
    ) -> T:
        """Replace a head by what an edit makes of it, trying again until no other writer comes in between.

        Args:
            thread_id: The thread.
            edit: Gets the current head; called again when that was not the current one.
            hint: What the caller knows of the head, for the first try.

        Raises:
            CorruptCheckpointError: An object that the thread consists of is not there.
        """
        async with self._lock(thread_id):
            known, fresh = self._cache.get(thread_id) or hint, False
            for attempt in itertools.count():
                if known is None:
                    known, fresh = await self._read_settled(thread_id), True
                try:
                    wanted = await edit(known.head)
                    if wanted.head is not known.head:
                        await self._write(thread_id, known, wanted.head)
                        return wanted.result
                    if fresh:
                        if known.head is not None:
                            # Left by a call whose deletions failed after its head was written.
                            await self._delete_garbage(known.head)
                        return wanted.result
                except (CheckpointConflictError, MissingPartsError, VanishedError) as error:
                    # What is refused must be refused because of how the thread is, not of how it was.
                    if fresh and not isinstance(error, VanishedError):
                        raise
                    if fresh and known.etag == (await self._read_settled(thread_id)).etag:
                        raise _lost(thread_id, error) from error
                except ChangedError:
                    pause = min(_MAX_PAUSE_SECONDS, 0.01 * 2 ** min(attempt, 6))
                    await asyncio.sleep(random.uniform(0, pause))  # noqa: S311 - jitter, no secret
                known, fresh = None, False
        raise AssertionError("unreachable")

    async def delete(self, thread_id: str) -> bool:
        """Delete a thread and all its data; tell whether it was there."""

        async def nothing(head: Head | None) -> Changed[bool]:
            return Changed(None, head is not None and not head.empty)

        return await self.update(thread_id, nothing)

    def cached(self, thread_id: str) -> Head | None:
        """Return the head as this process last saw it, if it has."""
        known = self._cache.get(thread_id)
        return known.head if known else None

    async def begin(self, thread_id: str) -> Head:
        """Return the head as it is now; a thread that has none gets a newborn one."""
        async with self._lock(thread_id):
            while True:
                known = await self._read_settled(thread_id)
                if known.head is not None:
                    return known.head
                head = Head(thread_id, new_incarnation())
                marks = {BORN: head.incarnation}
                try:
                    etag = await self.store.put(self.layout.head(thread_id), [], if_absent=True, marks=marks)
                except ChangedError:
                    continue
                self._remember(thread_id, Known(head, etag))
                return head

    async def lives(self, head: Head) -> bool:
        """Tell whether a thread is still that of a head, at some moment of this call."""
        known = self._cache.get(head.thread_id)
        if (
            known is not None
            and known.head is not None
            and known.head.incarnation == head.incarnation
            and known.etag == await self.store.etag(self.layout.head(head.thread_id))
        ):
            return True
        now, _ = await self._read(head.thread_id)
        return now.head is not None and now.head.incarnation == head.incarnation

    async def bury_old(self, name: str, data: str, before: datetime) -> bool:
        """Finish the deletion that an empty head stands for, or delete what was not written to since a time.

        Args:
            name: Of the head.
            data: What the names of the thread's data start with.
            before: The time.

        Returns:
            Whether nothing is left.
        """
        found = await self.store.get(name)
        if found is None or found.body:
            return found is None
        etag = found.etag
        if found.born is not None:
            async for page in self.store.list_all(f"{data}{found.born}/"):
                if any(listed.modified >= before for listed in page):
                    return False
            try:
                etag = await self.store.put(name, [], if_match=etag, marks={INCARNATION: found.born})
            except ChangedError:
                return False
        await self._bury(name, data, etag, found.born or found.incarnation)
        return True

    async def page(self, thread_id: str, page: Page) -> list[Entry]:
        """Read a page of a thread, oldest first.

        Raises:
            VanishedError: It is not there.
        """
        name = self.layout.data_of(thread_id) + page.name
        found = await self.store.get(name)
        if found is None:
            raise VanishedError(name)
        return decode_page(found.body, name)

    async def delete_all(self, names: Iterable[str]) -> None:
        """Delete objects, as many at once as there are threads for it."""
        await self.delete_versions((name, None) for name in names)

    async def delete_versions(self, versions: Iterable[tuple[str, str | None]]) -> None:
        """Delete objects that still have the given ETags; None stands for any."""
        remaining = iter(versions)
        while batch := list(itertools.islice(remaining, _BATCH)):
            await asyncio.gather(*(self._delete_version(name, etag) for name, etag in batch))

    async def _delete_version(self, name: str, etag: str | None) -> None:
        with contextlib.suppress(ChangedError):
            await self.store.delete(name, etag)

    async def _delete_garbage(self, head: Head) -> None:
        data = self.layout.data_of(head.thread_id)
        versions = (each.partition("?") for each in head.garbage)
        await self.delete_versions((data + name, etag or None) for name, _, etag in versions)

    async def read_head(self, name: str, thread_id: str | None = None) -> Head | None:
        """Read a head by its name."""
        found = await self.store.get(name)
        return decode_head(found.body, name, thread_id) if found is not None and found.body else None

    async def _read(self, thread_id: str) -> tuple[Known, Found | None]:
        name = self.layout.head(thread_id)
        found = await self.store.get(name)
        if found is not None and found.born is not None:
            return Known(Head(thread_id, found.born), found.etag), found
        if found is None or not found.body:
            return Known(), found
        return Known(decode_head(found.body, name, thread_id), found.etag), found

    async def _read_settled(self, thread_id: str) -> Known:
        """Read a head, after finishing a deletion that has begun."""
        known, found = await self._read(thread_id)
        if found is not None and known.head is None:
            data = self.layout.data_of(thread_id)
            await self._bury(self.layout.head(thread_id), data, found.etag, found.incarnation)
        self._remember(thread_id, known)
        return known

    async def _write(self, thread_id: str, known: Known, head: Head | None) -> None:
        # Until the outcome is known, nothing is known.
        self._cache.pop(thread_id, None)
        name, data = self.layout.head(thread_id), self.layout.data_of(thread_id)
        if head is None or head.empty:
            incarnation = known.head.incarnation if known.head else None
            etag = await self.store.put(name, [], if_match=known.etag, marks={INCARNATION: incarnation})
            await self._bury(name, data, etag, incarnation)
            return
        etag = await self.store.put(name, [encode_head(head)], if_match=known.etag, if_absent=known.etag is None)
        await self._delete_garbage(head)
        self._remember(thread_id, Known(replace(head, garbage=()), etag))

    async def _bury(self, name: str, data: str, etag: str, incarnation: str | None) -> None:
        """Delete the data of a thread whose head is empty, then the empty head."""
        async for page in self.store.list_all(f"{data}{incarnation}/"):
            await self.delete_all(listed.name for listed in page)
        # Unless another call has finished it, and the thread lives again.
        await self._delete_version(name, etag)

    def _remember(self, thread_id: str, known: Known) -> None:
        self._cache.pop(thread_id, None)
        if known.head is not None:
            self._cache[thread_id] = known
        while len(self._cache) > _CACHED_HEADS:
            self._cache.pop(next(iter(self._cache)), None)

    async def read(self, thread_id: str) -> Known:
        """Return the head as it is now."""
        return await self._read_settled(thread_id)

    def forget(self, thread_id: str | None = None) -> None:
        """Forget what was read of a thread, by default of all: the connection has changed."""
        if thread_id is None:
            self._cache.clear()
        else:
            self._cache.pop(thread_id, None)

    async def close(self) -> None:
        """Forget what belongs to the running event loop."""
        await self._locks.close()

    def _lock(self, thread_id: str) -> asyncio.Lock:
        """Return the lock that keeps writers of this loop from racing each other for one head."""
        locks = self._locks.get()
        lock = locks.get(thread_id)
        if lock is None:
            lock = locks[thread_id] = asyncio.Lock()
        return lock


def _lost(thread_id: str, error: Exception) -> CorruptCheckpointError:
    return CorruptCheckpointError(
        f"thread {thread_id!r}: object {error} is missing. A lifecycle rule may have deleted it: declare its age as "
        "`retention` of the connection, then older checkpoints are not looked for"
    )


async def _nothing_to_close(_: object) -> None:
    """Locks hold nothing."""
