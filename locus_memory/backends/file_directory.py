"""A directory of thread files: reading, locking and replacing them. Everything here blocks."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final, Self

from locus_memory.backends.file_document import (
    SUFFIX,
    CheckpointRecord,
    document_text,
    file_name,
    read_document,
    thread_id_of,
)
from locus_memory.errors import (
    AuthenticationError,
    BackendUnavailableError,
    BindingError,
    CheckpointError,
    StateTooLargeError,
)
from locus_memory.history import ThreadHistory

History = ThreadHistory[CheckpointRecord]

_LOCKS: Final = ".locks"
_STRIPES: Final = 64
"""Lock files; threads that share one wait for each other, no more."""

_LOCK_PAUSE_SECONDS: Final = 0.005
"""Between two tries to lock what another process holds: `flock` itself cannot wait and be called off."""

_TEMPORARY: Final = ".tmp-"
_STALE_SECONDS: Final = 3600
"""Age from which a temporary file belongs to no living writer."""


class ThreadDirectory:
    """One file per thread, replaced as a whole; safe from several threads and processes.

    Args:
        path: The directory.
        must_exist: Never make it, and take it for an outage when it is missing: it is where a volume is mounted, and
            without the volume conversations would be written to the container's own disk, and forgotten with it.
    """

    def __init__(self, path: Path, *, must_exist: bool = False) -> None:
        self.path = path
        self._must_exist = must_exist
        self._stripes = [threading.Lock() for _ in range(_STRIPES)]
        self._prepared = False

    def again(self) -> Self:
        """Return the same directory with locks that nobody holds, for a process that was forked."""
        return type(self)(self.path, must_exist=self._must_exist)

    def read(self, thread_id: str) -> History | None:
        """Return a thread's history; None when there is none. Needs no lock: files are replaced at once.

        Raises:
            CorruptCheckpointError: The file is damaged.
        """
        path = self.path / file_name(thread_id)
        try:
            return read_document(path, thread_id)
        except FileNotFoundError:
            self._check_there()
            return None
        except OSError as error:
            raise _translate(error, path) from error

    def read_all(self) -> Iterator[History]:
        """Read one thread after the other; those that go meanwhile are left out."""
        for thread_id in self.thread_ids():
            history = self.read(thread_id)
            if history is not None:
                yield history

    def thread_ids(self) -> list[str]:
        """Return the ids of all threads, from the names of the files."""
        try:
            paths = [Path(entry.path) for entry in os.scandir(self.path) if entry.name.endswith(SUFFIX)]
            return [thread_id for path in paths if (thread_id := thread_id_of(path)) is not None]
        except FileNotFoundError:
            # Nothing was saved yet, or a file with a cut name went while it was read.
            self._check_there()
            return [] if not self.path.exists() else self.thread_ids()
        except OSError as error:
            raise _translate(error, self.path) from error

    def write(self, history: History) -> None:
        """Replace the thread's file, or remove it when nothing is left; the caller holds the lock.

        The new file is on disk before it takes the old one's name, and the name is on disk before this returns.
        """
        path = self.path / file_name(history.thread_id)
        try:
            if history.namespaces or history.writes:
                self._replace(path, document_text(history))
            else:
                path.unlink(missing_ok=True)
            _sync_directory(self.path)
        except OSError as error:
            raise _translate(error, path) from error

    @contextmanager
    def locked(self, *thread_ids: str, given_up: threading.Event) -> Iterator[None]:
        """Keep other writers of these threads out, in this process and in others.

        Args:
            thread_ids: The threads.
            given_up: Set when nobody waits for the result any more.

        Raises:
            BackendUnavailableError: Given up before the lock was free.
        """
        try:
            self._prepare()
        except OSError as error:
            raise _translate(error, self.path) from error
        with ExitStack() as held:
            # In one order everywhere, so that two writers never wait for each other.
            for stripe in sorted({_stripe_of(thread_id) for thread_id in thread_ids}):
                held.enter_context(self._stripes[stripe])
                held.enter_context(self._file_lock(stripe, given_up))
            yield

    @contextmanager
    def _file_lock(self, stripe: int, given_up: threading.Event) -> Iterator[None]:
        path = self.path / _LOCKS / f"{stripe:02x}"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _translate(error, path) from error
        try:
            while not _try_lock(descriptor, path):
                if given_up.wait(_LOCK_PAUSE_SECONDS):
                    raise BackendUnavailableError(f"{path}: another process holds the lock")
            if given_up.is_set():
                # A save that failed for its caller must not appear later, over a newer one.
                raise BackendUnavailableError(f"{path}: the caller has given up")
            yield
        finally:
            # Closing alone would leave the lock with a child process that inherited the descriptor.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)

    def _replace(self, path: Path, text: bytes) -> None:
        descriptor, name = tempfile.mkstemp(prefix=_TEMPORARY, dir=self.path)
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise

    def _prepare(self) -> None:
        if self._prepared and (self.path / _LOCKS).is_dir():
            return
        self._check_there()
        for directory in (self.path, self.path / _LOCKS):
            if not directory.is_dir():
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                _sync_directory(directory.parent)
        self._remove_stale_files()
        self._prepared = True

    def _check_there(self) -> None:
        if self._must_exist and not self.path.is_dir():
            raise BackendUnavailableError(
                f"{self.path} does not exist: the volume of the store is not mounted here. Create the pod again, with "
                "the store being Ready"
            )

    def _remove_stale_files(self) -> None:
        oldest = time.time() - _STALE_SECONDS
        for entry in os.scandir(self.path):
            # Another process may be faster at clearing up.
            with suppress(FileNotFoundError):
                if entry.name.startswith(_TEMPORARY) and entry.stat(follow_symlinks=False).st_mtime < oldest:
                    Path(entry.path).unlink()


def _stripe_of(thread_id: str) -> int:
    return hashlib.sha256(thread_id.encode()).digest()[0] % _STRIPES


def _try_lock(descriptor: int, path: Path) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise _translate(error, path) from error
    return True


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_REFUSED: Final = {errno.EACCES, errno.EPERM, errno.EROFS}
_MISPLACED: Final = {errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG}


def _translate(error: OSError, path: Path) -> CheckpointError:
    message = f"{path}: {error.strerror or error}"
    if error.errno in _REFUSED:
        return AuthenticationError(message)
    if error.errno in _MISPLACED:
        return BindingError(message)
    if error.errno == errno.EFBIG:
        return StateTooLargeError(message)
    return BackendUnavailableError(message)
