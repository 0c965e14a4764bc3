"""Agents that save without a pause, and what they have saved against what the stores have."""

import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from locus_memory.binding import DirectoryBinding
from locus_memory.opening import open_checkpointer
from tests.e2e.chart.release import AGENTS
from tests.e2e.operator_process import LABEL, Stores
from tests.e2e.test_node.images import ImageRoot
from tests.e2e.test_node.launcher import NodeProcess
from tests.servers.processes import wait_for

Object = dict[str, Any]
PROGRAM = Path(__file__).with_name("saving_agent.py")
DOCUMENT = "connection.json"


@dataclass(frozen=True)
class Journal:
    """What an agent has written down.

    Attributes:
        library: Where its library is.
        saved: Checkpoints that were acknowledged, in their order.
        numbers: The numbers that are in them.
        failed: Lines about saves that failed.
        slowest: Seconds that the slowest save took.
    """

    library: str
    saved: tuple[str, ...]
    numbers: tuple[int, ...]
    failed: tuple[str, ...]
    slowest: float

    @classmethod
    def read(cls, text: str) -> "Journal":
        """Read a log; its last line may not be whole yet."""
        lines = [line.split(" ", 3) for line in text.splitlines(keepends=True) if line.endswith("\n")]
        saved = [rest for kind, *rest in lines if kind == "saved"]
        return cls(
            library=next((rest[0].strip() for kind, *rest in lines if kind == "library"), ""),
            saved=tuple(checkpoint for _, checkpoint, _ in saved),
            numbers=tuple(int(number) for number, _, _ in saved),
            failed=tuple(" ".join(line) for line in lines if line[0] not in ("library", "saved")),
            slowest=max((float(seconds) for _, _, seconds in saved), default=0.0),
        )


@dataclass(frozen=True)
class Agent:
    """A Deployment of one agent on a store; its thread has its name."""

    stores: Stores
    name: str
    store: str

    def deploy(self, image: str) -> None:
        """Create it; the label is all that it says about memory."""
        labels = {"app": self.name}
        environment = [{"name": "THREAD_ID", "value": self.name}]
        container = {"name": "agent", "image": image, "env": environment}
        self.stores.control_plane.apply(
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": self.name, "namespace": AGENTS},
                "spec": {
                    "selector": {"matchLabels": labels},
                    "template": {
                        "metadata": {"labels": labels | {LABEL: self.store}},
                        "spec": {"containers": [container], "terminationGracePeriodSeconds": 5},
                    },
                },
            }
        )

    def journal(self) -> Journal:
        """What it has written down until now."""
        return Journal.read(self.stores.kubectl("logs", f"deployment/{self.name}", "--tail=-1"))

    def wait_until_saving(self) -> None:
        """Wait until it has saved once more than it has now."""
        self.stores.kubectl("rollout", "status", f"deployment/{self.name}", "--timeout=60s")
        before = len(self.journal().saved)
        wait_for(lambda: len(self.journal().saved) > before, timeout=30, what=f"another save of {self.name}")

    def restarts(self) -> int:
        """How often its only pod's container was started again."""
        restarts = self.stores.kubectl(
            "get", "pods", f"--selector=app={self.name}", "--output=jsonpath={..restartCount}"
        )
        (number,) = restarts.split()
        return int(number)


@dataclass(frozen=True)
class Thread:
    """A thread as its store has it: checkpoints in the order in which they were written, and the last one's number."""

    checkpoints: tuple[str, ...]
    last: int


def read_thread(agent: Agent, node: NodeProcess) -> Thread:
    """Read an agent's thread with the binding of its store, and nothing else."""
    with tempfile.TemporaryDirectory() as directory:
        for name, value in agent.stores.binding(agent.store).items():
            (Path(directory) / name).write_text(value)
        volume = agent.stores.get(agent.store)["status"]["claims"].get("volumeClaim")
        if volume is not None:
            # Pods have the files under one path, the node under another.
            claim = agent.stores.control_plane.get("pvc", volume, AGENTS)["metadata"]["uid"]
            document = Path(directory) / DOCUMENT
            mounted = f"/var/lib/locus/{agent.store}"
            assert mounted in document.read_text()
            document.write_text(document.read_text().replace(mounted, str(node.directory / "claims" / claim)))
        return asyncio.run(_read(DirectoryBinding(Path(directory)), agent.name))


async def _read(binding: DirectoryBinding, thread: str) -> Thread:
    async with open_checkpointer(binding) as checkpointer:
        newest_first = await checkpointer.list_checkpoints(thread, limit=1_000_000)
        state = await checkpointer.load(thread, newest_first[0])
        assert isinstance(state, dict)
        return Thread(tuple(reversed(newest_first)), int(state["number"]))


def agent_image(image: ImageRoot) -> ImageRoot:
    """`image` with the agent in it."""
    return ImageRoot(
        mounts={**image.mounts, "/app/agent.py": str(PROGRAM)},
        env=image.env,
        working_dir="/app",
        entrypoint=("python", "agent.py"),
    )
