"""Plays the demo from start to end."""

import json
import subprocess
import sys
from typing import Any

from hack.demo.performance import perform
from hack.demo.screen import Screen
from hack.demo.stage import Stage
from tests.e2e.control_plane import REPOSITORY

NAMESPACE = "agents"
AGENTS = ("agent-postgresql", "agent-redis")
APPLIED = "applied: "
"""How the controller's log line about an action begins."""


class CommandError(RuntimeError):
    """A command of the story failed; the message is what it printed."""


class Story:
    """What a platform engineer and an application team would do, with the commands that they would type."""

    def __init__(self, stage: Stage, screen: Screen) -> None:
        self._stage = stage
        self._screen = screen

    def play(self) -> None:
        """Play it."""
        self.provide_logins()
        self.deploy()
        self.first_day()
        self.second_day()
        self.look_behind()

    def provide_logins(self) -> None:
        """The operator needs logins to provision with; agents never see them."""
        self._screen.heading("A platform engineer hands over two logins to provision with")
        self._kubectl("apply", "-f", "examples/01-namespace.yaml")
        for name in ("postgresql-admin", "redis-admin"):
            # A password among a command's arguments would be seen by everybody on the machine.
            login = self._stage.logins[name].relative_to(REPOSITORY)
            self._kubectl("create", "secret", "generic", name, "-n", NAMESPACE, f"--from-env-file={login}")

    def deploy(self) -> None:
        """Stores and agents in one command."""
        self._screen.heading("An application team asks for two stores, and puts one label on each of two agents")
        self._kubectl("apply", "-f", "examples/")
        self._kubectl("wait", "cps", "--all", "-n", NAMESPACE, "--for=condition=Ready", "--timeout=60s")

    def first_day(self) -> None:
        """The agents are told something."""
        self._screen.heading("Day 1")
        self._wait_for_rollout()
        columns = "POD:.metadata.name,INJECTED:.metadata.annotations.memory\\.locus\\.dev/injected"
        self._kubectl("get", "pods", "-n", NAMESPACE, "-o", f"custom-columns={columns}")
        self._show_conversations()

    def second_day(self) -> None:
        """New pods answer from what the old ones were told."""
        self._screen.heading("Day 2: other pods, the same thread id")
        question = "MESSAGE=What were we discussing?"
        self._kubectl("set", "env", "deployment", *AGENTS, "-n", NAMESPACE, question)
        self._wait_for_rollout()
        self._show_conversations()

    def look_behind(self) -> None:
        """What the operator did."""
        self._screen.heading("What the operator did for it")
        self._kubectl("get", "cps", "-n", NAMESPACE)
        self._kubectl("get", "events", "-n", NAMESPACE, "--field-selector=involvedObject.kind=CheckpointStore")
        for store, actions in sorted(self._applied().items()):
            self._screen.note(f"\nThe plan that was applied for {store}:")
            self._screen.numbered(actions)
        self._screen.note(
            "\nThe agents use logins that can read and write their rows and nothing else. examples/agent.py has one "
            "line for all of it:\ncheckpointer=locus_memory.checkpointer()"
        )

    def _applied(self) -> dict[str, list[str]]:
        """Actions by store, from the controller's log: an Event has no room for all of them."""
        found: dict[str, list[str]] = {}
        for line in self._stage.controller_log.read_text().splitlines():
            entry = json.loads(line) if line.startswith("{") else {"message": line}
            if entry["message"].startswith(APPLIED):
                found.setdefault(entry["store"], []).append(entry["message"].removeprefix(APPLIED))
        return found

    def _wait_for_rollout(self) -> None:
        for agent in AGENTS:
            self._kubectl("rollout", "status", f"deployment/{agent}", "-n", NAMESPACE, "--timeout=60s", output=False)

    def _show_conversations(self) -> None:
        for agent in AGENTS:
            pod = self._newest_pod(agent)
            log = self._kubectl("logs", pod, "-n", NAMESPACE, output=False)
            self._screen.conversation(log)

    def _newest_pod(self, agent: str) -> str:
        # The one before it may still be saying goodbye.
        pods: list[dict[str, Any]] = json.loads(
            self._run(["get", "pods", "-n", NAMESPACE, f"--selector=app={agent}", "-o", "json"])
        )["items"]
        return str(max(pods, key=lambda pod: pod["metadata"]["creationTimestamp"])["metadata"]["name"])

    def _kubectl(self, *arguments: str, output: bool = True) -> str:
        """Run a command that the audience sees."""
        with self._screen.command(["kubectl", *arguments]):
            text = self._run(arguments)
        if output:
            self._screen.output(text)
        return text

    def _run(self, arguments: list[str] | tuple[str, ...]) -> str:
        command = self._stage.control_plane.kubectl_command(*arguments)
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
        if done.returncode:
            raise CommandError(done.stderr.strip())
        return done.stdout

    def explain(self) -> None:
        """Show the state of things after a failure, as far as there are any."""
        for arguments in (("get", "cps,pods", "-n", NAMESPACE), ("get", "events", "-n", NAMESPACE)):
            try:
                text = self._run(arguments)
            except CommandError:
                continue
            if text.strip():
                self._screen.note(f"$ kubectl {' '.join(arguments)}")
                self._screen.output(text)


def main() -> int:
    """Play the demo; return the exit status."""
    screen = Screen()
    screen.title("Locus Memory: from YAML to a resumed conversation")
    stage = Stage(REPOSITORY / ".demo", screen)
    story = Story(stage, screen)
    return perform(stage, screen, story.play, explain=story.explain)


if __name__ == "__main__":
    sys.exit(main())
