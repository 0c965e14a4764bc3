"""The workflows call targets that exist, with no more permission than they need."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.image.dockerfile import Dockerfile

REPOSITORY = Path(__file__).resolve().parents[2]
WORKFLOWS = {path.name: path for path in sorted((REPOSITORY / ".github/workflows").glob("*.yaml"))}
CHART = "helm/locus-operator"
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
WRITING = {"release.yaml": {"publish"}}
"""The jobs that may write."""

each_workflow = pytest.mark.parametrize("name", WORKFLOWS)


def load(name: str) -> dict[str, Any]:
    # `on` is true in YAML 1.1: read as text, as GitHub does.
    found: dict[str, Any] = yaml.load(WORKFLOWS[name].read_text(), yaml.BaseLoader)  # noqa: S506 - makes text alone
    return found


def jobs(name: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = load(name)["jobs"]
    return found


def steps(name: str) -> list[dict[str, Any]]:
    return [step for job in jobs(name).values() for step in job.get("steps", [])]


def made(text: str) -> set[str]:
    """The targets that a script makes."""
    return set(re.findall(r"^\s*make (?:--\S+ )*([\w-]+)", text, re.MULTILINE))


@each_workflow
def test_targets_exist(name: str) -> None:
    called = {target for step in steps(name) for target in made(step.get("run", ""))}
    assert called
    assert called - TARGETS == set()


def test_everything_is_tested_documented_and_built() -> None:
    called = {target for step in steps("ci.yaml") for target in made(step.get("run", ""))}
    assert called == {"test", "unit", "docs", "kind", "image-check"}
    assert "make test" in (REPOSITORY / ".ci/run").read_text()


def test_each_python_that_is_supported_is_tried() -> None:
    text = WORKFLOWS["ci.yaml"].read_text()
    project = (REPOSITORY / "pyproject.toml").read_text()
    for version in re.findall(r'"Programming Language :: Python :: (3\.\d+)"', project):
        assert f"python:{version}-bookworm" in text or f'"{version}"' in text, version


@each_workflow
def test_nothing_may_write_but_what_publishes(name: str) -> None:
    assert load(name)["permissions"] == {"contents": "read"}
    for job, found in jobs(name).items():
        writes = "write" in found.get("permissions", {}).values()
        assert writes == (job in WRITING.get(name, ())), job


@each_workflow
def test_checkouts_leave_no_token_behind_for_others_code(name: str) -> None:
    for job, found in jobs(name).items():
        for step in found.get("steps", []):
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] == "false", job


@each_workflow
def test_actions_are_pinned_by_commit_and_say_which_version_that_is(name: str) -> None:
    lines = re.findall(r"^ *(?:- )?uses: (.*)$", WORKFLOWS[name].read_text(), re.MULTILINE)
    for each in lines:
        # What somebody else may move, or a workflow of ours.
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+|\./\.github/workflows/\w+\.yaml", each), each


def test_an_action_has_one_commit_everywhere() -> None:
    used = {step["uses"] for name in WORKFLOWS for step in steps(name) if "uses" in step}
    assert len({each.partition("@")[0] for each in used}) == len(used)


def test_pinned_actions_are_kept_fresh() -> None:
    updates = yaml.safe_load((REPOSITORY / ".github/dependabot.yml").read_text())["updates"]
    assert "github-actions" in [each["package-ecosystem"] for each in updates]


def test_the_name_of_a_tag_that_is_released_holds_no_command() -> None:
    # It reaches make as VERSION, and make writes it into the commands of a recipe: no quotes hold there.
    (pattern,) = load("release.yaml")["on"]["push"]["tags"]
    assert set(pattern.replace("[0-9]+", "")) == set("v.")


@each_workflow
def test_no_script_is_made_of_what_somebody_else_writes(name: str) -> None:
    # A title, a branch or a tag in `${{ }}` would be run as part of the script; in a variable it is text.
    assert [step["run"] for step in steps(name) if "${{" in step.get("run", "")] == []


@each_workflow
def test_jobs_end(name: str) -> None:
    assert [job for job, found in jobs(name).items() if "uses" not in found and "timeout-minutes" not in found] == []


def test_a_release_is_made_on_the_base_of_the_dockerfile_and_after_all_tests() -> None:
    publish = jobs("release.yaml")["publish"]
    assert publish["env"]["BASE"] == Dockerfile.read(REPOSITORY / "Dockerfile").arguments.pairs("ARG")["BASE"]
    assert publish["needs"] == "test"
    assert jobs("release.yaml")["test"]["uses"] == "./.github/workflows/ci.yaml"


def test_what_a_release_passes_to_the_image_are_its_arguments() -> None:
    (build,) = [step for step in steps("release.yaml") if step.get("id") == "image"]
    passed = set(re.findall(r"^(\w+)=", build["with"]["build-args"], re.MULTILINE))
    known = {name for stage in Dockerfile.read(REPOSITORY / "Dockerfile").stages for name in stage.pairs("ARG")}
    assert passed == known - {"EXTRAS"}


def test_the_image_has_one_name_which_is_that_of_the_chart() -> None:
    repository = yaml.safe_load((REPOSITORY / CHART / "values.yaml").read_text())["image"]["repository"]
    printed = subprocess.run(["make", "--dry-run", "image"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert re.search(rf"--tag {re.escape(repository)}:\d+\.\d+\.\d+ ", printed.stdout)
    release = steps("release.yaml")
    assert any(f"IMAGE=$(yq .image.repository {CHART}/values.yaml)" in step.get("run", "") for step in release)
    assert repository not in WORKFLOWS["release.yaml"].read_text()
    (login,) = [step["with"] for step in release if step.get("uses", "").startswith("docker/login-action@")]
    assert repository.startswith(f"{login['registry']}/")
