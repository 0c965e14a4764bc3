"""A conversation of two days with the agent of the examples: its second pod has to know what the first was told."""

import asyncio
import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from locus.core.messages import Role

from locus_memory.binding import DirectoryBinding
from locus_memory.opening import open_checkpointer
from tests.e2e.control_plane import REPOSITORY, ControlPlane
from tests.e2e.operator_process import Stores

Object = dict[str, Any]
THREAD = "user-c42"
TOLD = "I'm planning a trip to Tokyo."
ASKED = "What were we discussing?"


@dataclass(frozen=True)
class Day:
    """One day of a conversation: the pod that answered, and what it printed."""

    pod: Object
    log: str

    @property
    def pod_name(self) -> str:
        return str(self.pod["metadata"]["name"])

    @property
    def container(self) -> Object:
        container: Object = self.pod["spec"]["containers"][0]
        return container

    @property
    def answer(self) -> str:
        (line,) = [each for each in self.log.splitlines() if each.startswith("agent: ")]
        return line.removeprefix("agent: ")


def play_both_days(control_plane: ControlPlane, namespace: str, agent: str) -> tuple[Day, Day]:
    """Wait for the answer of a deployment that was told something, and ask its next pod about it."""
    first = play_day(control_plane, namespace, agent)
    control_plane.kubectl("set", "env", f"deployment/{agent}", f"--namespace={namespace}", f"MESSAGE={ASKED}")
    return first, play_day(control_plane, namespace, agent)


def play_day(control_plane: ControlPlane, namespace: str, agent: str) -> Day:
    """Wait until the deployment's new pod has answered."""
    here = f"--namespace={namespace}"
    control_plane.kubectl("rollout", "status", f"deployment/{agent}", here, "--timeout=60s")
    pods = json.loads(control_plane.kubectl("get", "pods", here, f"--selector=app={agent}", "--output=json"))["items"]
    pod = max(pods, key=lambda each: str(each["metadata"]["creationTimestamp"]))
    return Day(pod, control_plane.kubectl("logs", pod["metadata"]["name"], here))


def documented(page: str, language: str) -> list[str]:
    """The blocks of a language in a page of the documentation."""
    text = (REPOSITORY / "docs" / page).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


@contextmanager
def documented_store(stores: Stores, manifest: str, **place: object) -> Iterator[Stores]:
    """Apply a store of the documentation, on a server of the tests; it is Ready, and goes while the operator runs.

    Args:
        stores: Where.
        manifest: The store ``conversations``, in YAML.
        place: Fields of its backend that say where the server is.
    """
    store: Object = yaml.safe_load(manifest)
    store["metadata"]["namespace"] = stores.namespace
    (backend,) = store["spec"]["backend"].values()
    backend |= place
    stores.control_plane.apply(store)
    stores.wait("conversations")
    yield stores
    stores.kubectl("delete", "cps", "--all", "--timeout=30s")


def deploy_agent(stores: Stores, agent: str, **replaced: str) -> None:
    """Apply the deployment of the examples, for the store ``conversations``.

    Args:
        stores: Where.
        agent: Name of the deployment.
        replaced: Images to use in place of those of the examples, as ``image``.
    """
    examples = (REPOSITORY / "examples" / "03-agents.yaml").read_text()
    deployment: Object = next(yaml.safe_load_all(examples))
    text = json.dumps(deployment).replace("conversations-postgresql", "conversations")
    deployment = json.loads(text.replace("agent-postgresql", agent))
    deployment["metadata"]["namespace"] = stores.namespace
    if image := replaced.get("image"):
        for container in deployment["spec"]["template"]["spec"]["containers"]:
            container["image"] = image
    stores.control_plane.apply(deployment)


def assert_remembered(days: tuple[Day, Day]) -> None:
    """The second pod answers from what the first was told, and from nothing else."""
    first, second = days
    assert first.answer.startswith("Tokyo!")
    assert second.pod_name != first.pod_name
    assert "Tokyo" not in json.dumps(second.pod["spec"])
    assert second.answer == f'Your trip to Tokyo. You told me: "{TOLD}"'


def assert_both_days_are_stored(stores: Stores) -> None:
    """Who has the binding and nothing else reads both questions."""
    with tempfile.TemporaryDirectory() as directory:
        for name, value in stores.binding("conversations").items():
            (Path(directory) / name).write_text(value)
        state = asyncio.run(_load(DirectoryBinding(Path(directory))))
    assert [each.content for each in state.messages if each.role is Role.USER] == [TOLD, ASKED]


async def _load(binding: DirectoryBinding) -> Any:
    async with open_checkpointer(binding) as checkpointer:
        return await checkpointer.load(THREAD)
