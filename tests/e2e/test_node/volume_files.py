"""Volumes made of files that the node writes: replaced as a whole, as a kubelet does."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DATA_LINK = "..data"


@dataclass(frozen=True)
class VolumeFile:
    """Content and permission bits of one file."""

    content: bytes
    mode: int


def publish(directory: Path, files: Mapping[str, VolumeFile], group: int | None) -> None:
    """Make ``files`` (by path inside the volume) the content of ``directory``, atomically.

    The files lie in a new directory; the symbolic link ``..data`` is swapped to it in one step, and
    what the container opens are links through ``..data``. So a reader sees all old or all new files.
    """
    directory.mkdir(parents=True, exist_ok=True)
    link = directory / DATA_LINK
    old = directory / link.readlink() if link.is_symlink() else None
    new = Path(tempfile.mkdtemp(prefix="..", dir=directory))
    new.chmod(0o755)
    for name, file in files.items():
        path = new / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
        path.chmod(file.mode if group is None else file.mode | 0o440)
        if group is not None:
            os.chown(path, 0, group)
    temporary = directory / f"{DATA_LINK}_tmp"
    temporary.symlink_to(new.name)
    temporary.replace(link)
    _link_names(directory, {Path(name).parts[0] for name in files})
    if old is not None:
        shutil.rmtree(old)


def _link_names(directory: Path, names: set[str]) -> None:
    for name in names:
        if not (directory / name).is_symlink():
            (directory / name).symlink_to(f"{DATA_LINK}/{name}")
    for entry in directory.iterdir():
        if not entry.name.startswith("..") and entry.name not in names:
            entry.unlink()
