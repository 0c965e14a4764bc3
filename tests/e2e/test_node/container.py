"""One container of a pod: its process, restarts, probes, and the state that the pod's status shows."""

import asyncio
import json
import os
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Protocol

import aiohttp

from tests.e2e.test_node import sandbox
from tests.e2e.test_node.cluster import Object, timestamp
from tests.e2e.test_node.environment import Invocation, invocation
from tests.e2e.test_node.images import ImageRoot, load_image
from tests.e2e.test_node.objects import MissingError, ObjectStore
from tests.e2e.test_node.probes import watch_probes
from tests.e2e.test_node.volumes import Mount, PodVolumes

HEALTHY_SECONDS = 10.0  # whoever ran that long starts with the first back-off again
MESSAGE_LINES = 10


@dataclass(frozen=True)
class NodeSettings:
    """What is the same for every container of a node."""

    name: str
    address: str
    images: Path
    logs: Path
    env: dict[str, str]
    first_backoff: float = 1.0
    longest_backoff: float = 30.0


class PodContext(Protocol):
    """What a container asks of its pod."""

    pod: Object
    address: str
    directory: Path
    settings: NodeSettings
    objects: ObjectStore
    volumes: PodVolumes
    session: aiohttp.ClientSession

    def changed(self) -> None:
        """Report the pod's status again."""

    async def event(self, kind: str, reason: str, message: str) -> None:
        """Record an Event about the pod."""


@dataclass
class ContainerState:
    """A container's state in the terms of ``containerStatuses``."""

    state: Object = field(default_factory=lambda: {"waiting": {"reason": "ContainerCreating"}})
    last_state: Object = field(default_factory=dict)
    ready: bool = False
    restarts: int = 0
    container_id: str = ""

    def status(self, spec: Object) -> Object:
        """Return the entry of ``containerStatuses`` for the container ``spec``."""
        return {
            "name": spec["name"],
            "image": spec["image"],
            "imageID": f"test-node://{spec['image']}",
            "containerID": self.container_id,
            "state": self.state,
            "lastState": self.last_state,
            "ready": self.ready,
            "started": "running" in self.state,
            "restartCount": self.restarts,
        }


class Container:
    """Runs ``spec`` in the pod ``context`` by ``restart_policy``."""

    def __init__(self, context: PodContext, spec: Object, restart_policy: str) -> None:
        self.spec = spec
        self.state = ContainerState()
        self._context = context
        self._policy = restart_policy
        self._stopping = False
        self._process: asyncio.subprocess.Process | None = None
        self._over = asyncio.Event()  # the process has ended, and the state says so
        self._env: dict[str, str] = {}
        self._scratch = context.directory / "containers" / spec["name"]
        self._scratch.mkdir(parents=True)

    @property
    def address(self) -> str:
        """The pod's IP address."""
        return self._context.address

    def log_path(self, *, previous: bool = False) -> Path:
        """Return where the present run (or the one before it) logs."""
        metadata = self._context.pod["metadata"]
        directory = f"{metadata['namespace']}_{metadata['name']}_{metadata['uid']}"
        run = self.state.restarts - (1 if previous else 0)
        logs = self._context.settings.logs
        return logs / directory / str(self.spec["name"]) / f"{run}.log"

    @property
    def finished(self) -> bool:
        """Whether it has ended and will not be started again."""
        return "terminated" in self.state.state and not self._restarts(self._exit_code)

    @property
    def _exit_code(self) -> int:
        return int(self.state.state["terminated"]["exitCode"])

    async def run(self) -> int:
        """Run, and run again as the policy wants; return the last exit code."""
        backoff = 0.0
        while True:
            started = time.monotonic()
            code = await self._run_once()
            if not self._restarts(code):
                return code
            if time.monotonic() - started > HEALTHY_SECONDS:
                backoff = 0.0
            self.state.last_state = self.state.state
            if backoff:
                message = f"back-off {backoff:g}s restarting failed container={self.spec['name']}"
                self._wait_because("CrashLoopBackOff", message)
                await asyncio.sleep(backoff)
            # The first restart is immediate, as with a kubelet.
            settings = self._context.settings
            backoff = min(backoff * 2 or settings.first_backoff, settings.longest_backoff)
            self.state.restarts += 1

    async def stop(self, grace: float) -> None:
        """Send SIGTERM, and SIGKILL to everything after ``grace`` seconds; returns when it has ended."""
        process, over = self._process, self._over
        if process is None or process.returncode is not None:
            return
        if grace > 0:
            process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(grace):
                    await over.wait()
            except TimeoutError:
                self.kill()
        else:
            self.kill()
        await process.wait()
        await over.wait()

    def stop_restarting(self) -> None:
        """Whatever the policy says, what has ended stays ended."""
        self._stopping = True

    def kill(self) -> None:
        """End everything in the container at once."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGUSR1)

    async def execute(self, command: list[str]) -> bool:
        """Run ``command`` in the container, for a probe; true if it exits with 0."""
        pid = self._first_pid()
        if pid is None:
            return False
        spec = self._identity()
        process = await asyncio.create_subprocess_exec(
            *("nsenter", f"--target={pid}", "--mount", "--uts", "--pid"),
            *(f"--setuid={spec['uid']}", f"--setgid={spec['gid']}", "--", *command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env=self._env,
        )
        try:
            return await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()

    async def _run_once(self) -> int:
        spec = await self._prepare()
        log = self.log_path()
        log.parent.mkdir(parents=True, exist_ok=True)
        path = self._scratch / "spec.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps(spec))
        with log.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", sandbox.__file__, str(path)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._over = asyncio.Event()
        self.state.container_id = f"test-node://{self._process.pid}"
        self.state.state = {"running": {"startedAt": timestamp()}}
        self._context.changed()
        probes = asyncio.create_task(
            watch_probes(self, self._context.session, self._set_ready, self._restart_unhealthy)
        )
        try:
            code = await self._process.wait()
            self._ended(code, log)
        finally:
            self._over.set()
            probes.cancel()
        return code

    def _ended(self, code: int, log: Path) -> None:
        reason = {0: "Completed", sandbox.START_ERROR: "StartError"}.get(code, "Error")
        running = self.state.state.get("running", {})
        terminated = {
            "exitCode": code,
            "reason": reason,
            "startedAt": running.get("startedAt"),
            "finishedAt": timestamp(),
            "containerID": self.state.container_id,
        }
        if code > 128:
            terminated["signal"] = code - 128
        if code != 0:  # as with terminationMessagePolicy FallbackToLogsOnError
            lines = log.read_text(errors="replace").splitlines()[-MESSAGE_LINES:]
            terminated["message"] = "\n".join(lines)[-2048:]
        self.state.state = {"terminated": terminated}
        self.state.ready = False
        self._context.changed()

    async def _prepare(self) -> Object:
        """Wait until everything is there that the container needs, and return its sandbox's spec."""
        while True:
            try:
                image = load_image(self._context.settings.images, self.spec["image"])
                if image is None:
                    message = f'the test node has no image "{self.spec["image"]}"'
                    await self._report_waiting("ErrImagePull", message, event="Failed")
                else:
                    return self._sandbox_spec(image)
            except MissingError as error:
                await self._report_waiting("CreateContainerConfigError", str(error), event="Failed")
            try:  # images have no change to wait for
                async with asyncio.timeout(1):
                    await self._context.objects.changed()
            except TimeoutError:
                continue

    def _sandbox_spec(self, image: ImageRoot) -> Object:
        context, pod = self._context, self._context.pod
        called = invocation(pod, self.spec, image, context.objects, context.settings.env)
        own_mounts = [Mount(os.path.realpath(host), path, True, True) for path, host in image.mounts.items()]
        volumes = context.volumes.mounts(pod, self.spec, called.env)
        identity = self._identity(image)
        self._env = {"HOME": "/root" if identity["uid"] == 0 else "/", **called.env}
        security = self.spec.get("securityContext") or {}
        return {
            "node_pid": os.getpid(),
            "scratch": str(self._scratch),
            "hostname": pod["spec"].get("hostname") or pod["metadata"]["name"],
            "hosts": self._hosts(),
            # Parents first: a volume at /tmp must not hide an image's directory below it.
            "mounts": [vars(mount) for mount in sorted((*own_mounts, *volumes), key=_depth)],
            "read_only_root": bool(security.get("readOnlyRootFilesystem")),
            "no_new_privileges": security.get("allowPrivilegeEscalation") is False,
            **self._command(called),
            **identity,
        }

    def _command(self, called: Invocation) -> Object:
        return {"command": list(called.command), "env": self._env, "working_dir": called.working_dir}

    def _identity(self, image: ImageRoot | None = None) -> Object:
        """Work out user and groups: those of the container, else of the pod, else of the image."""
        pod_security = self._context.pod["spec"].get("securityContext") or {}
        security = pod_security | (self.spec.get("securityContext") or {})
        image = image or load_image(self._context.settings.images, self.spec["image"]) or ImageRoot()
        uid = security.get("runAsUser", image.user)
        if security.get("runAsNonRoot") and uid == 0:
            raise MissingError("container has runAsNonRoot and image will run as root")
        groups = [*pod_security.get("supplementalGroups", [])]
        if "fsGroup" in pod_security:
            groups.append(pod_security["fsGroup"])
        return {"uid": uid, "gid": security.get("runAsGroup", 0), "groups": groups}

    def _hosts(self) -> list[str]:
        spec = self._context.pod["spec"]
        lines = [f"{self.address} {spec.get('hostname') or self._context.pod['metadata']['name']}"]
        aliases = spec.get("hostAliases") or []
        return lines + [f"{alias['ip']} {' '.join(alias.get('hostnames') or [])}" for alias in aliases]

    def _first_pid(self) -> int | None:
        """Return the process id, on the host, of the container's first process."""
        if self._process is None or self._process.returncode is not None:
            return None
        pid = self._process.pid
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except OSError:
            return None
        return int(children[0]) if children else None

    def _restarts(self, code: int) -> bool:
        if self._stopping:
            return False
        return self._policy == "Always" or (self._policy == "OnFailure" and code != 0)

    async def _restart_unhealthy(self, message: str) -> None:
        text = f"Container {self.spec['name']}: {message}, will be restarted"
        await self._context.event("Warning", "Unhealthy", text)
        grace = self._context.pod["spec"].get("terminationGracePeriodSeconds", 30)
        await self.stop(grace)

    def _set_ready(self, ready: bool) -> None:
        if self.state.ready != ready:
            self.state.ready = ready
            self._context.changed()

    async def _report_waiting(self, reason: str, message: str, event: str) -> None:
        if self._wait_because(reason, message):
            await self._context.event("Warning", event, f"{reason}: {message}")

    def _wait_because(self, reason: str, message: str) -> bool:
        """Show why the container waits; return whether that is news."""
        waiting = {"waiting": {"reason": reason, "message": message}}
        if self.state.state == waiting:
            return False
        self.state.state = waiting
        self.state.ready = False
        self._context.changed()
        return True


def _depth(mount: Mount) -> int:
    return len(PurePosixPath(mount.target).parts)
