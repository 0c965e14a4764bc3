"""A conversation of two days with the agent of the examples: its second pod has to know what the first was told."""

import json
from dataclasses import dataclass
from typing import Any

from tests.e2e.control_plane import ControlPlane

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
