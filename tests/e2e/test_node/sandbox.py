"""Runs one container process: ``sandbox.py SPEC``, where SPEC is the path of a JSON file.

It makes mount, PID and host name namespaces, lays a private writable layer over the host's file
system, binds the container's volumes into it, and executes the command as the namespace's first
process. Everything that was mounted disappears with that process.

This program runs alone (``python -I -S``), so that starting a container is fast, and passes signals
on: SIGTERM as it is, SIGUSR1 as SIGKILL. It ends with the command's exit status, or 128 plus a
signal's number; 128 itself means that the command could not be started, and the log says why.
"""

import ctypes
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWPID = 0x20000000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
MNT_DETACH = 2
PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38

START_ERROR = 128
OLD_ROOT = "/.host"

libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: Any) -> None:
    """Call a function of the C library; raise OSError if it fails."""
    converted = [value.encode() if isinstance(value, str) else value for value in arguments]
    if getattr(libc, name)(*converted) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}{arguments}: {os.strerror(number)}")


def mount(source: str, target: str, kind: str | None = None, flags: int = 0, options: str = "") -> None:
    """mount(2)."""
    call("mount", source, target, kind, ctypes.c_ulong(flags), options)


def main() -> NoReturn:
    spec = json.loads(Path(sys.argv[1]).read_text())
    signals = {signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    call("prctl", PR_SET_PDEATHSIG, int(signal.SIGUSR1), 0, 0, 0)
    if os.getppid() != spec["node_pid"]:  # the node died before we asked to be told
        sys.exit(START_ERROR)
    try:
        call("unshare", CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWPID)
    except OSError as error:
        sys.exit(fail(error))
    child = os.fork()
    if child == 0:
        try:
            enter(spec)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
            for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # by Python; a container expects the defaults
                signal.signal(ignored, signal.SIG_DFL)
            os.execvpe(spec["command"][0], spec["command"], spec["env"])  # noqa: S606
        except OSError as error:
            os._exit(fail(error))
    forward(child, signals)


def fail(error: OSError) -> int:
    """Write why the container did not start to its log."""
    print(f"test node: cannot start the container: {error}", file=sys.stderr, flush=True)
    return START_ERROR


def forward(child: int, signals: set[signal.Signals]) -> NoReturn:
    """Pass signals on to ``child`` and exit when it does."""
    while True:
        received = signal.sigwait(signals)
        if received == signal.SIGCHLD:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid == child:
                code = os.waitstatus_to_exitcode(status)
                sys.exit(code if code >= 0 else 128 - code)
        else:
            os.kill(child, signal.SIGKILL if received == signal.SIGUSR1 else received)


def enter(spec: dict[str, Any]) -> None:
    """Set up the file system and the identity of the process that becomes the container."""
    call("sethostname", spec["hostname"], len(spec["hostname"]))
    mount("none", "/", flags=MS_REC | MS_PRIVATE)  # nothing below may reach the host
    root = make_root(spec["scratch"])
    Path(root + OLD_ROOT).mkdir()
    call("pivot_root", root, root + OLD_ROOT)
    os.chdir("/")
    for entry in spec["mounts"]:
        bind(entry["source"], entry["target"], entry["read_only"], entry["open_parents"])
    call("umount2", OLD_ROOT, MNT_DETACH)
    Path(OLD_ROOT).rmdir()
    with Path("/etc/hosts").open("a") as hosts:
        hosts.writelines(f"{line}\n" for line in spec["hosts"])
    Path(spec["working_dir"]).mkdir(parents=True, exist_ok=True)
    if spec["read_only_root"]:
        mount("none", "/", flags=MS_REMOUNT | MS_BIND | MS_RDONLY)
    become(spec)
    os.chdir(spec["working_dir"])


def make_root(scratch: str) -> str:
    """Mount the host's file system below ``scratch`` with a private layer for what is written."""
    mount("tmpfs", scratch, "tmpfs")
    root = f"{scratch}/root"
    for name in ("upper", "work", "root"):
        Path(scratch, name).mkdir()
    mount("overlay", root, "overlay", options=f"lowerdir=/,upperdir={scratch}/upper,workdir={scratch}/work")
    Path(root).chmod(0o755)
    mount("proc", f"{root}/proc", "proc")
    for name in ("sys", "dev"):
        mount(f"/{name}", f"{root}/{name}", flags=MS_BIND | MS_REC)
    for name in ("tmp", "dev/shm"):
        mount("tmpfs", f"{root}/{name}", "tmpfs", options="mode=1777")
    return root


def bind(source: str, target: str, read_only: bool, open_parents: bool) -> None:
    """Show ``source`` of the host as ``target``; ``open_parents`` lets every user pass to it."""
    source = OLD_ROOT + source
    if Path(source).is_dir():
        Path(target).mkdir(parents=True, exist_ok=True)
    else:
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        Path(target).touch()
    if open_parents:
        for parent in Path(target).parents:
            mode = parent.stat().st_mode
            if mode & 0o011 != 0o011:
                parent.chmod(mode | 0o011)
    mount(source, target, flags=MS_BIND | MS_REC)
    if read_only:
        mount("none", target, flags=MS_REMOUNT | MS_BIND | MS_RDONLY)


def become(spec: dict[str, Any]) -> None:
    """Take the container's identity, and die with the process that watches over it."""
    os.setgroups(spec["groups"])
    os.setresgid(spec["gid"], spec["gid"], spec["gid"])
    os.setresuid(spec["uid"], spec["uid"], spec["uid"])
    call("prctl", PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)  # changing the identity clears it
    if spec["no_new_privileges"]:
        call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


if __name__ == "__main__":
    main()
