"""`locus-operator` without a cluster: the same engine, files instead of Secrets."""

import asyncio
import base64
import json
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

import locus_memory
from locus_operator.cli import ExitCode, app
from tests.integration.operator.stores import Store
from tests.servers.processes import free_port

Run = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    runner = CliRunner()
    return lambda *arguments, **options: runner.invoke(app, [str(each) for each in arguments], **options)


@pytest.fixture
def manifest(store: Store, tmp_path: Path) -> Path:
    """A file with one store and the Secrets that it refers to."""
    path = tmp_path / "store.yaml"
    path.write_text(yaml.safe_dump_all(documents(store)))
    return path


def documents(store: Store, **spec: Any) -> list[dict[str, Any]]:
    checkpoint_store = {
        "apiVersion": "memory.locus.dev/v1alpha1",
        "kind": "CheckpointStore",
        "metadata": {"namespace": "agents", "name": store.name},
        "spec": {"backend": store.backend, **spec},
    }
    secrets = [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}
        for name, data in store.sources.items()
    ]
    return [*secrets, {"kind": "Namespace", "metadata": {"name": "agents"}}, checkpoint_store]


def test_a_plan_is_printed_and_changes_nothing(run: Run, manifest: Path) -> None:
    first, second = run("plan", "-f", manifest), run("plan", "-f", manifest)
    assert first.exit_code == ExitCode.OK
    assert re.search(r"^  [+~] (create|claim) ", first.stdout, re.MULTILINE)
    assert re.search(r"^  plan: [0-9]+ to create, [0-9]+ to change, [0-9]+ to remove$", first.stdout, re.MULTILINE)
    assert second.stdout == first.stdout


def test_an_agent_runs_with_the_written_binding(
    run: Run, manifest: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bindings = tmp_path / "bindings"
    done = run("apply", "-f", manifest, "--binding-dir", bindings)
    assert done.exit_code == ExitCode.OK, done.output
    files = sorted((bindings / store.name).iterdir())
    assert {"type", "provider", "uri", "connection.json"} <= {file.name for file in files}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    password = (bindings / store.name / "password").read_text()
    assert password not in done.output

    monkeypatch.setenv("SERVICE_BINDING_ROOT", str(bindings))

    async def converse() -> Any:
        async with locus_memory.checkpointer(store.name, state_type=dict) as checkpointer:
            await checkpointer.save({"bound": True}, "thread")
            return await checkpointer.load("thread")

    assert asyncio.run(converse()) == {"bound": True}

    again = run("apply", "-f", manifest, "--binding-dir", bindings)
    assert "nothing to do" in again.stdout
    assert (bindings / store.name / "password").read_text() == password


def test_a_deletion_takes_the_store_off_its_backend(run: Run, store: Store, tmp_path: Path) -> None:
    path, bindings = tmp_path / "store.yaml", tmp_path / "bindings"
    path.write_text(yaml.safe_dump_all(documents(store, deletionPolicy="Delete")))
    assert run("apply", "-f", path, "--binding-dir", bindings).exit_code == ExitCode.OK

    refused = run("delete", "-f", path, "--binding-dir", bindings)
    assert refused.exit_code == ExitCode.REFUSED
    assert "--allow-destructive" in refused.stderr
    assert "nothing to do" in run("apply", "-f", path, "--binding-dir", bindings).stdout

    done = run("delete", "-f", path, "--binding-dir", bindings, "--allow-destructive")
    assert done.exit_code == ExitCode.OK, done.output
    assert re.search(r"^  ! ", done.stdout, re.MULTILINE)
    assert not (bindings / store.name).exists()
    assert "nothing to do" in run("delete", "-f", path, "--allow-destructive").stdout


def test_the_password_is_printed_when_asked_for_only(run: Run, manifest: Path) -> None:
    hidden = run("apply", "-f", manifest)
    assert "password: (hidden)" in hidden.stdout
    assert "--binding-dir" in hidden.stderr
    shown = run("apply", "-f", manifest, "--show-binding")
    values = dict(line.strip().split(": ", 1) for line in shown.stdout.splitlines() if line.startswith("  "))
    assert json.loads(values["connection.json"])["password"] == values["password"] != "(hidden)"


def test_standard_input_and_a_separate_file_of_secrets_are_read(run: Run, store: Store, tmp_path: Path) -> None:
    *secrets, _, checkpoint_store = documents(store)
    for secret in secrets:
        secret["data"] = {
            key: base64.b64encode(value.encode()).decode() for key, value in secret.pop("stringData").items()
        }
    path = tmp_path / "secrets.yaml"
    path.write_text(yaml.safe_dump({"kind": "List", "items": secrets}))
    done = run("plan", "-f", "-", "--secrets", path, input=yaml.safe_dump(checkpoint_store))
    assert done.exit_code == ExitCode.OK, done.output


def test_a_store_gets_the_backend_of_its_class(run: Run, store: Store, tmp_path: Path) -> None:
    *rest, checkpoint_store = documents(store)
    store_class = {
        "apiVersion": "memory.locus.dev/v1alpha1",
        "kind": "CheckpointStoreClass",
        "metadata": {"name": "standard"},
        "spec": {"backend": store.backend, "defaults": {"retention": {"maxAge": "30d"}}},
    }
    checkpoint_store["spec"] = {"className": "standard"}
    path = tmp_path / "store.yaml"
    path.write_text(yaml.safe_dump_all([*rest, checkpoint_store]))
    missing = run("apply", "-f", path)
    assert missing.exit_code == ExitCode.REFUSED
    assert "no CheckpointStoreClass 'standard'" in missing.stderr
    path.write_text(yaml.safe_dump_all([*rest, store_class, checkpoint_store]))
    done = run("apply", "-f", path, "--binding-dir", tmp_path / "bindings")
    assert done.exit_code == ExitCode.OK, done.output
    document = json.loads((tmp_path / "bindings" / store.name / "connection.json").read_text())
    assert document["retention"] == {"max_age_seconds": 30 * 86_400}


def test_another_cluster_of_the_same_names_is_a_conflict(run: Run, manifest: Path) -> None:
    assert run("apply", "-f", manifest).exit_code == ExitCode.OK
    other = run("apply", "-f", manifest, "--cluster", "other")
    assert other.exit_code == ExitCode.REFUSED
    assert "Conflict" in other.stderr


# --- errors; no server is needed for these ---

MEMORY = Store({"memory": {}}, {}, name="m")


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def write_file(text: str) -> Path:
        path = tmp_path / "input.yaml"
        path.write_text(text)
        return path

    return write_file


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "no valid YAML at line 1"),
        ("[]", "must be a Kubernetes object"),
        ("kind: Secret", "there is no CheckpointStore"),
        ("{kind: Secret, metadata: {name: s}, data: {k: '%%hidden'}}", "data.k is no base64"),
        (
            yaml.safe_dump_all(documents(Store({"memory": {}, "redis": {}}, {}, name="m"))),
            "spec.backend.redis",
        ),
        (yaml.safe_dump_all(documents(MEMORY, retention={"maxAge": "soon"})), "spec.retention.maxAge"),
    ],
)
def test_wrong_input_is_explained_without_a_traceback(
    run: Run, write: Callable[[str], Path], text: str, message: str
) -> None:
    done = run("plan", "-f", write(text))
    assert done.exit_code == ExitCode.INVALID
    assert message in done.stderr
    assert "hidden" not in done.output


def test_a_missing_file_is_explained(run: Run, tmp_path: Path) -> None:
    done = run("plan", "-f", tmp_path / "absent.yaml")
    assert done.exit_code == ExitCode.INVALID
    assert "absent.yaml" in done.stderr


def test_one_failing_store_does_not_stop_the_others(run: Run, write: Callable[[str], Path]) -> None:
    backend = {"adminSecretRef": {"name": "admin"}, "addresses": [f"127.0.0.1:{free_port()}"]}
    away = Store({"redis": backend}, {"admin": {"password": "x"}}, name="away")
    done = run("apply", "-f", write(yaml.safe_dump_all([*documents(away), *documents(MEMORY)])))
    assert done.exit_code == ExitCode.UNAVAILABLE
    assert "BackendUnavailable" in done.stderr
    assert "type: memory" in done.stdout


def test_the_crds_are_printed_and_written(run: Run, tmp_path: Path) -> None:
    printed = run("crds", "--no-cel")
    names = [each["metadata"]["name"] for each in yaml.safe_load_all(printed.stdout)]
    assert len(names) == 2
    assert "x-kubernetes-validations" not in printed.stdout
    written = run("crds", "--output-dir", tmp_path / "crds")
    assert len(written.stdout.splitlines()) == 2
    assert "x-kubernetes-validations" in next((tmp_path / "crds").glob("*.yaml")).read_text()
