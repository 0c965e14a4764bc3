"""Settings that are out of bounds end a process at its start, in one line that names the variable."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from locus_operator.settings import InvalidSettingsError, Settings, read_settings
from tests.servers.processes import free_port


@pytest.mark.parametrize(
    ("variables", "complaint"),
    [
        ({"WORKERS": "0"}, "LOCUS_OPERATOR_WORKERS: Input should be greater than or equal to 1"),
        ({"LEADER_ELECTION": "perhaps"}, "LOCUS_OPERATOR_LEADER_ELECTION: "),
        ({"LEASE_SECONDS": "1", "LOG_LEVEL": "LOUD"}, "LOCUS_OPERATOR_LOG_LEVEL: Input should be 'DEBUG', "),
        ({"LEASE_SECONDS": "1", "LOG_LEVEL": "LOUD"}, "LOCUS_OPERATOR_LEASE_SECONDS: "),
        (
            {"WEBHOOK_CERTIFICATE_SECRET": "tls"},
            "write LOCUS_OPERATOR_WEBHOOK_CONFIGURATION beside LOCUS_OPERATOR_WEBHOOK_CERTIFICATE_SECRET",
        ),
        (
            {"MISSING_RETRY_SECONDS": "90"},
            "write LOCUS_OPERATOR_MISSING_RETRY_MAX_SECONDS no shorter than LOCUS_OPERATOR_MISSING_RETRY_SECONDS (90)",
        ),
    ],
)
def test_the_variable_is_named(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], complaint: str) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"LOCUS_OPERATOR_{name}", value)
    with pytest.raises(InvalidSettingsError) as caught:
        read_settings()
    assert complaint in str(caught.value)


def test_they_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCUS_OPERATOR_WATCH_NAMESPACES", "agents, support")
    assert read_settings() == Settings(watch_namespaces=("agents", "support"))


def run(command: str, **variables: str) -> tuple[int, str]:
    """Run one of the operator's processes where there is no cluster; returns its exit code and standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "locus_operator.cli", command],
        env={**os.environ, "LOCUS_OPERATOR_HEALTH_HOST": "127.0.0.1", **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("command", ["controller", "webhook", "guard-uninstall"])
def test_a_process_says_it_in_one_line(command: str) -> None:
    code, said = run(command, LOCUS_OPERATOR_WORKERS="none")
    assert (code, said.count("\n"), said.startswith("error: LOCUS_OPERATOR_WORKERS: ")) == (2, 1, True)


@pytest.mark.parametrize("command", ["controller", "webhook"])
def test_without_a_cluster_it_says_what_to_do(command: str, tmp_path: Path) -> None:
    ports = {f"LOCUS_OPERATOR_{name}": str(free_port()) for name in ("HEALTH_PORT", "WEBHOOK_HEALTH_PORT")}
    code, said = run(command, KUBECONFIG=str(tmp_path / "none"), **ports)
    assert (code, "Traceback" in said) == (1, False)
    assert "error: there is no cluster to " in said.splitlines()[-1]
    assert "KUBECONFIG" in said.splitlines()[-1]
