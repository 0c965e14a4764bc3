"""Volumes without a cluster: a claim is a directory, marked by a file in it."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from locus_operator.constants import ConditionReason
from locus_operator.errors import RefusedError, UnavailableError
from locus_operator.volumes import Mark, MountingPod, NewClaim, StorageClass, VolumeClaim

MARK_FILE: Final = ".locus-operator"
"""In each directory that is somebody's; the library's file backend looks at names that end in `.json` only."""

_REFUSED: Final = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST}

T = TypeVar("T")


class VolumeDirectories:
    """Directories in place of the PersistentVolumeClaims of one namespace; they have no size, class or access modes.

    Args:
        root: Holds one directory a namespace, with one a claim in it.
        namespace: The stores' namespace.
    """

    known: str | None = None

    def __init__(self, root: Path, namespace: str) -> None:
        self._namespace = root.absolute() / namespace

    def directory(self, store: str, claim: str) -> str:
        """Return the claim's directory: agents read it where it is."""
        return str(self._namespace / claim)

    async def find(self, name: str) -> VolumeClaim | None:
        """Read the mark of a directory."""
        return await self._do("read", name, _find)

    async def storage_class(self, name: str) -> StorageClass | None:
        """Return nothing: directories have no class."""
        return None

    async def mounting(self, name: str) -> tuple[MountingPod, ...]:
        """Return nothing: there are no pods."""
        return ()

    async def create(self, new: NewClaim, mark: Mark) -> VolumeClaim:
        """Make a directory for its owner alone."""
        return await self._do("create", new.name, lambda path: _create(path, mark))

    async def mark(self, claim: VolumeClaim, mark: Mark | None) -> VolumeClaim:
        """Write the mark."""
        return await self._do("mark", claim.name, lambda path: _change(path, claim, mark))

    async def grow(self, claim: VolumeClaim, size: str) -> VolumeClaim:
        """Do nothing: a directory has the size of its disk."""
        return claim

    async def delete(self, claim: VolumeClaim) -> None:
        """Delete the directory with everything in it, its mark last, so that the next run finishes the work."""
        await self._do("delete", claim.name, lambda path: _delete(path, claim))

    async def _do(self, verb: str, name: str, work: Callable[[Path], T]) -> T:
        path = self._namespace / name
        with _explaining(verb, path):
            return await asyncio.to_thread(work, path)


@contextmanager
def _explaining(verb: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        message = f"cannot {verb} the directory {path}: {error.strerror or error}"
        if error.errno in _REFUSED:
            raise RefusedError(ConditionReason.BACKEND_REFUSED, message) from error
        raise UnavailableError(message) from error


def _find(path: Path) -> VolumeClaim | None:
    if not path.is_dir():
        return None
    try:
        text = (path / MARK_FILE).read_text()
        content = json.loads(text)
        return VolumeClaim(path.name, text, content["mark"], content["uid"], ours=content["ours"])
    except FileNotFoundError:
        return VolumeClaim(path.name, "")
    except (ValueError, KeyError, TypeError):
        return VolumeClaim(path.name, text)


def _create(path: Path, mark: Mark) -> VolumeClaim:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Under its own name once it is marked: a directory without a mark would be nobody's.
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=".new-"))
    try:
        _write(temporary, mark, ours=True)
        temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return _found(path)


def _change(path: Path, claim: VolumeClaim, mark: Mark | None) -> VolumeClaim:
    _check_unchanged(path, claim)
    if mark is None:
        (path / MARK_FILE).unlink(missing_ok=True)
    else:
        _write(path, mark, ours=claim.ours)
    return _found(path)


def _delete(path: Path, claim: VolumeClaim) -> None:
    _check_unchanged(path, claim)
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            elif entry.name != MARK_FILE:
                Path(entry.path).unlink()
    (path / MARK_FILE).unlink(missing_ok=True)
    path.rmdir()


def _write(path: Path, mark: Mark, *, ours: bool) -> None:
    descriptor, name = tempfile.mkstemp(dir=path, prefix=MARK_FILE)
    with os.fdopen(descriptor, "w") as file:
        json.dump({"mark": mark.text, "store": mark.store, "uid": mark.uid, "ours": ours}, file)
    Path(name).replace(path / MARK_FILE)


def _found(path: Path) -> VolumeClaim:
    found = _find(path)
    if found is None:
        raise UnavailableError(f"the directory {path} was removed meanwhile")
    return found


def _check_unchanged(path: Path, claim: VolumeClaim) -> None:
    if _found(path).version != claim.version:
        raise UnavailableError(f"the directory {path} was changed meanwhile")
