"""What can be said of the Dockerfiles by reading them."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

from tests.image.dockerfile import Dockerfile, ignored

REPOSITORY = Path(__file__).resolve().parents[2]
OPERATOR = REPOSITORY / "Dockerfile"
AGENT = REPOSITORY / "examples/agent/Dockerfile"
DOCKERIGNORE = REPOSITORY / ".dockerignore"
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
HEAVY = {"oci"}
"""Extras that the default image leaves out."""

both = pytest.mark.parametrize("path", [OPERATOR, AGENT], ids=["operator", "agent"])


@both
def test_what_is_copied_exists_and_reaches_the_builder(path: Path) -> None:
    copied = Dockerfile.read(path).copied()
    assert copied
    assert [each for each in copied if not list(REPOSITORY.glob(each))] == []
    assert [each for each in copied if ignored(each, DOCKERIGNORE)] == []


@pytest.mark.parametrize(
    "secret", [".git", ".env", ".demo/postgresql-admin.env", ".venv", "tests", "operator/x/__pycache__"]
)
def test_nothing_else_reaches_the_builder(secret: str) -> None:
    assert ignored(secret, DOCKERIGNORE)
    assert not ignored("operator/locus_operator/cli.py", DOCKERIGNORE)


@both
def test_the_base_can_be_replaced_by_a_digest(path: Path) -> None:
    found = Dockerfile.read(path)
    assert found.arguments.pairs("ARG")["BASE"].startswith("python:3.1")
    assert {stage.base for stage in found.stages} == {"${BASE}"}
    assert len(found.stages) == 2


@both
def test_the_final_stage_installs_nothing_and_takes_only_what_was_built(path: Path) -> None:
    final = Dockerfile.read(path).final
    for run in final.all("RUN"):
        assert not re.search(r"\b(apt-get|apt|pip install|curl|wget|gcc)\b", run.value), run.value
    copies = [(each.flags, each.words[0]) for each in final.all("COPY")]
    assert copies[0] == (("--from=build",), copies[0][1])
    assert copies[0][1].startswith("/opt/")


@both
def test_wheels_are_pinned_and_nothing_is_compiled(path: Path) -> None:
    build = Dockerfile.read(path).stages[0]
    (install,) = [each.value for each in build.all("RUN") if " install " in each.value]
    assert "--only-binary :all:" in install
    assert "--no-compile" in install
    # Of the two names, older and newer versions of pip know one each for what builds our own wheel.
    environment = build.pairs("ENV")
    assert environment["PIP_CONSTRAINT"] == environment["PIP_BUILD_CONSTRAINT"] == "/source/constraints.txt"
    pinned = {line.split("==")[0] for line in (REPOSITORY / "constraints.txt").read_text().splitlines()}
    assert {"hatchling", "packaging", "pathspec", "pluggy", "trove-classifiers"} <= pinned


@both
def test_it_runs_as_a_number_that_is_not_root(path: Path) -> None:
    # A name would have to be looked up, and Kubernetes refuses it with runAsNonRoot.
    user, _, group = Dockerfile.read(path).final.last("USER").value.partition(":")
    assert int(user) > 0
    assert int(group) > 0


@both
def test_no_secret_is_baked_in(path: Path) -> None:
    for stage in (Dockerfile.read(path).arguments, *Dockerfile.read(path).stages):
        for name, value in {**stage.pairs("ARG"), **stage.pairs("ENV"), **stage.pairs("LABEL")}.items():
            assert not re.search(r"password|token|secret|key$|index_url", name, re.IGNORECASE), name
            assert "://" not in value, f"{name}: an address of somebody's network"
        assert stage.all("ADD") == []


def test_labels_tell_where_it_comes_from() -> None:
    final = Dockerfile.read(OPERATOR).final
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in final.pairs("LABEL").items()}
    assert labels.keys() == {
        *("title", "description", "licenses", "source", "version", "revision", "base.name", "base.digest")
    }
    assert labels["licenses"] == PROJECT["license"]
    arguments = {each for value in labels.values() for each in re.findall(r"\$\{(\w+)\}", value)}
    assert arguments == {"BASE", "BASE_DIGEST", "REVISION", "SOURCE", "VERSION"}
    assert arguments <= final.pairs("ARG").keys()


def test_one_entry_point_serves_controller_and_webhook() -> None:
    final = Dockerfile.read(OPERATOR).final
    (entry_point,) = final.last("ENTRYPOINT").words
    assert entry_point in PROJECT["scripts"]
    assert final.last("HEALTHCHECK").value.startswith("CMD [")


def test_default_extras_are_those_of_all_provisioners_that_are_not_heavy() -> None:
    chosen = set(Dockerfile.read(OPERATOR).stages[0].pairs("ARG")["EXTRAS"].split(","))
    own = PROJECT["optional-dependencies"]["operator"]
    (included,) = [found[1] for each in own if (found := re.fullmatch(r"locus-memory\[(.*)\]", each))]
    assert chosen | set(included.split(",")) == {"operator"} | extras_of_backends() - HEAVY


def extras_of_backends() -> set[str]:
    """The extras whose drivers the backends ask for, as `require(module, extra)`."""
    files = [*REPOSITORY.glob("locus_memory/backends/*.py"), *REPOSITORY.glob("operator/locus_operator/backends/*.py")]
    calls = [
        node
        for file in files
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "require"
    ]
    found = {str(call.args[1].value) for call in calls if isinstance(call.args[1], ast.Constant)}
    assert found & HEAVY
    return found
