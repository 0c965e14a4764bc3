"""Reads an export file: checks all of it first, then gives out its threads as a store would."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from locus_memory.commands.export_format import CheckpointLine, Header, PartRecord, Trailer, parse_line
from locus_memory.commands.transfer_readers import Outline
from locus_memory.commands.transfer_records import Fingerprint, sha256
from locus_memory.errors import CorruptCheckpointError
from locus_memory.storage import StoredCheckpoint


@dataclass(slots=True)
class _Namespace:
    """Where in the file the lines of a namespace begin, in bytes."""

    checkpoints: dict[str, int] = field(default_factory=dict)
    parts: dict[str, int] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)


class ExportFile:
    """An export file that is whole: every hash in it was checked when it was opened.

    In memory are the ids of threads and checkpoints; everything else stays in the file.

    Args:
        file: The file, at its beginning, and seekable.
        name: What messages call it.

    Raises:
        CorruptCheckpointError: It is no export, damaged, or not whole; the message says in which line.
    """

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._file = file
        self._name = name
        self._threads: dict[str, dict[str, _Namespace]] = {}
        self._fingerprint = Fingerprint()
        self._payload_bytes = 0
        self.trailer = self._check()

    async def threads(self) -> AsyncIterator[str]:
        """See `transfer_readers.Reader`."""
        for thread_id in sorted(self._threads, key=str.encode):
            yield thread_id

    async def outline(self, thread_id: str) -> Outline:
        """See `transfer_readers.Reader`."""
        namespaces = self._threads.get(thread_id, {})
        return {
            name: [self._checkpoint(offset).summary for offset in namespaces[name].checkpoints.values()]
            for name in sorted(namespaces, key=str.encode)
        }

    async def checkpoints(
        self, thread_id: str, namespace: str, checkpoint_ids: Sequence[str]
    ) -> AsyncIterator[StoredCheckpoint]:
        """See `transfer_readers.Reader`."""
        index = self._threads.get(thread_id, {}).get(namespace, _Namespace())
        parts: dict[str, bytes] = {}
        for checkpoint_id in checkpoint_ids:
            line = self._checkpoint(index.checkpoints[checkpoint_id])
            # Most parts are those of the checkpoint before; no more than one checkpoint's are kept.
            parts = {name: parts[name] if name in parts else self._part(index.parts[name]) for name in line.parts}
            yield StoredCheckpoint(line.summary, line.payload, parts, line.pending_writes)

    def _check(self) -> Trailer:
        trailer: Trailer | None = None
        for number, (offset, text) in enumerate(self._lines(), 1):
            where = f"{self._name}, line {number}"
            line = parse_line(text, where)
            if isinstance(line, Header) != (number == 1):
                raise CorruptCheckpointError(f"{where}: an export has one header, and it is the first line")
            if trailer is not None:
                raise CorruptCheckpointError(f"{where}: stands behind the trailer")
            if isinstance(line, PartRecord):
                index = self._namespace(line.thread_id, line.namespace)
                index.parts[line.name], index.hashes[line.name] = offset, sha256(line.data)
            elif isinstance(line, CheckpointLine):
                self._take(line, offset, where)
            elif isinstance(line, Trailer):
                trailer = line
        if trailer is None:
            raise CorruptCheckpointError(f"{self._name}: it has no trailer: the export was not finished, or cut off")
        found = (len(self._threads), self._fingerprint.checkpoints, self._payload_bytes, str(self._fingerprint))
        if found != (trailer.threads, trailer.checkpoints, trailer.payload_bytes, trailer.sha256):
            raise CorruptCheckpointError(f"{self._name}: its lines are not those that the trailer counted")
        return trailer

    def _take(self, line: CheckpointLine, offset: int, where: str) -> None:
        index = self._namespace(line.thread_id, line.namespace)
        if line.digest() != line.sha256:
            raise CorruptCheckpointError(f"{where}: its hash is another one")
        if line.position != len(index.checkpoints) or line.checkpoint_id in index.checkpoints:
            raise CorruptCheckpointError(f"{where}: is out of order, or stands there twice")
        if any(index.hashes.get(name) != part for name, part in line.parts.items()):
            raise CorruptCheckpointError(f"{where}: a part that it needs is missing or damaged")
        index.checkpoints[line.checkpoint_id] = offset
        self._fingerprint.add(line.position, line.sha256)
        self._payload_bytes += len(line.payload)

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        offset = 0
        while text := self._file.readline():
            yield offset, text
            offset += len(text)
        if offset == 0:
            raise CorruptCheckpointError(f"{self._name}: is empty")

    def _namespace(self, thread_id: str, namespace: str) -> _Namespace:
        return self._threads.setdefault(thread_id, {}).setdefault(namespace, _Namespace())

    def _checkpoint(self, offset: int) -> CheckpointLine:
        line = self._read(offset)
        assert isinstance(line, CheckpointLine)  # noqa: S101 - checked when it was opened
        return line

    def _part(self, offset: int) -> bytes:
        line = self._read(offset)
        assert isinstance(line, PartRecord)  # noqa: S101 - as above
        return line.data

    def _read(self, offset: int) -> Header | PartRecord | CheckpointLine | Trailer:
        self._file.seek(offset)
        return parse_line(self._file.readline(), f"{self._name}, byte {offset}")


def partial_path(path: Path) -> Path:
    """Name the file that an export writes before it is whole."""
    return path.with_name(f"{path.name}.partial")
