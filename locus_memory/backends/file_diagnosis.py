"""What `locus-memory doctor` says about a directory of thread files."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import JsonValue

from locus_memory.diagnosis import Diagnosis, Finding, Level

_MOUNTS: Final = Path("/proc/self/mountinfo")

_IN_MEMORY: Final = {"tmpfs", "ramfs", "devtmpfs"}
_OF_CONTAINERS: Final = {"overlay", "aufs", "fuse-overlayfs", "fuse.fuse-overlayfs"}
_NETWORK: Final = {"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.s3fs", "fuse.gcsfuse", "fuse.mountpoint-s3", "fuse.sshfs"}
_EMPTY_DIRECTORY: Final = "kubernetes.io~empty-dir"

_FREE_BYTES: Final = 256 * 1024 * 1024
_FREE_SHARE: Final = 0.05

_ELSEWHERE: Final = "mount a volume that outlives the container there, or bind a store on a server"


@dataclass(frozen=True, slots=True)
class Mount:
    """A mounted file system: where, of which type, and which directory of it."""

    point: str
    kind: str
    root: str


def diagnose_directory(path: Path) -> Diagnosis:
    """Look at a directory, and at the file system that it is on or would be on; blocks."""
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    usage = shutil.disk_usage(existing)
    mount = mount_of(existing, _MOUNTS.read_text() if _MOUNTS.exists() else "")
    facts: dict[str, JsonValue] = {
        "directory": str(path),
        "exists": existing == path,
        "file system": f"{mount.kind} at {mount.point}" if mount else "unknown",
        "free": f"{usage.free / 2**30:.1f} GiB of {usage.total / 2**30:.1f} GiB",
    }
    findings = [*mount_findings(path, mount), *_space_findings(path, usage.free, usage.total)]
    if existing == path:
        findings += _access_findings(path)
    return Diagnosis(facts, tuple(findings))


def mount_of(path: Path, mounts: str) -> Mount | None:
    """Find the mount that a path is on.

    Args:
        path: Any path that exists.
        mounts: Text of /proc/self/mountinfo, see proc(5); later lines hide earlier ones.
    """
    found: Mount | None = None
    target = os.path.realpath(path)
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields, kinds = before.split(), after.split()
        if len(fields) < 5 or not kinds:
            continue
        point = _unescaped(fields[4])
        holds = target == point or target.startswith(point.rstrip("/") + "/")
        if holds and (found is None or len(point) >= len(found.point)):
            found = Mount(point, kinds[0], _unescaped(fields[3]))
    return found


def mount_findings(path: Path, mount: Mount | None) -> list[Finding]:
    """Tell whether what is on a mount outlives its container or its machine."""
    if mount is None:
        return []
    if mount.kind in _IN_MEMORY:
        message = f"{path} is in memory ({mount.kind} at {mount.point}): all threads are gone after a restart"
        return [Finding(Level.WARNING, "ephemeral-file-system", message, _ELSEWHERE)]
    if mount.kind in _OF_CONTAINERS:
        message = f"{path} is in the container's own layer ({mount.kind}): all threads are gone when it is replaced"
        return [Finding(Level.WARNING, "ephemeral-file-system", message, _ELSEWHERE)]
    if _EMPTY_DIRECTORY in mount.root:
        message = f"{path} is an emptyDir volume: all threads are gone when the pod is replaced"
        return [Finding(Level.WARNING, "ephemeral-file-system", message, _ELSEWHERE)]
    if mount.kind in _NETWORK:
        message = f"{path} is on a network file system ({mount.kind})"
        advice = "make sure that it has locks (flock) and keeps what was synced; with several writers prefer a server"
        return [Finding(Level.INFO, "network-file-system", message, advice)]
    return []


def _space_findings(path: Path, free: int, total: int) -> list[Finding]:
    if free >= _FREE_BYTES and free >= total * _FREE_SHARE:
        return []
    message = f"the file system of {path} is nearly full: {free / 2**20:,.0f} MiB are free"
    return [Finding(Level.WARNING, "little-space", message, "free space: every save writes its thread's file anew")]


def _access_findings(path: Path) -> list[Finding]:
    findings = []
    if not path.is_dir():
        findings.append(Finding(Level.ERROR, "no-directory", f"{path} is no directory", "name a directory"))
    elif not os.access(path, os.W_OK | os.X_OK):
        message = f"this process (user {os.geteuid()}) may not write to {path}"
        findings.append(Finding(Level.ERROR, "not-writable", message, "give its owner, or fsGroup, the right to write"))
    if path.stat().st_mode & 0o007:
        message = f"every user of the machine may look into {path}"
        findings.append(Finding(Level.WARNING, "readable-by-others", message, f"chmod o-rwx {path}"))
    return findings


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
