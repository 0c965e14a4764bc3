"""The commands that helm prints after an installation can be pasted as they stand."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from locus_operator.api import parse_store
from tests.chart.helm import CHART, NAMESPACE, RELEASE, helm

KUBECTL = """\
#!/bin/sh
printf '%s\\n' "$*" >> calls
case "$*" in *"-f -"*) cat > applied ;; esac
"""


def notes(values: dict[str, Any]) -> str:
    """What helm prints; nothing is installed."""
    place = (f"--namespace={NAMESPACE}", "--dry-run=client")
    return helm("install", RELEASE, CHART, *place, "--values=-", input=yaml.safe_dump(values)).partition("\nNOTES:\n")[
        2
    ]


@pytest.mark.parametrize(("watched", "target"), [([], "default"), (["agents", "support"], "agents")])
def test_its_commands_make_a_store_that_the_operator_takes(tmp_path: Path, watched: list[str], target: str) -> None:
    (tmp_path / "kubectl").write_text(KUBECTL)
    (tmp_path / "kubectl").chmod(0o755)
    commands = notes({"watchNamespaces": watched}).partition("remembers:\n")[2].partition("\n`memory`")[0]
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(
        ["bash", "-c", commands], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    rollout, apply, wait = (tmp_path / "calls").read_text().splitlines()
    assert rollout.startswith(f"-n {NAMESPACE} rollout status deployment ")
    assert apply == f"-n {target} apply -f -"
    assert wait == f"-n {target} wait cps/first --for=condition=Ready"
    store = yaml.safe_load((tmp_path / "applied").read_text())
    store["metadata"] |= {"namespace": target, "uid": "1", "generation": 1}
    assert parse_store(store).spec.backend is not None
