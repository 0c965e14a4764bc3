"""Runs the real `helm`, whose binary `hack/helm` finds; knows nothing of pytest."""

import functools
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
CHART = REPOSITORY / "helm" / "locus-operator"
COMBINATIONS = sorted((CHART / "ci").glob("*-values.yaml"))
RELEASE = "locus-operator"
NAMESPACE = "locus-system"

Object = dict[str, Any]


class HelmError(RuntimeError):
    """A `helm` command failed; the message holds the command and what it printed."""


@functools.cache
def helm_binary() -> Path:
    """Return the path of `helm`, which `hack/helm` fetches the first time."""
    script = REPOSITORY / "hack" / "helm"
    return Path(subprocess.run([sys.executable, script], stdout=subprocess.PIPE, text=True, check=True).stdout.strip())


def helm(
    *arguments: str | Path,
    input: str | None = None,  # noqa: A002
    kubeconfig: Path | None = None,
    with_log: bool = False,
) -> str:
    """Run `helm` and return what it prints on standard output, after its log on standard error if that is asked for.

    Raises:
        HelmError: it failed.
    """
    # An administrator's own plugins, repositories and cluster are none of a test's business.
    own = {name: value for name, value in os.environ.items() if not name.startswith(("HELM_", "KUBE"))}
    environment = own | {"KUBECONFIG": str(kubeconfig or os.devnull)}
    command = [str(helm_binary()), *map(str, arguments)]
    result = subprocess.run(command, input=input, capture_output=True, text=True, check=False, env=environment)
    if result.returncode != 0:
        raise HelmError(f"helm {' '.join(command[1:])}: {result.stderr.strip()}\n{result.stdout.strip()}")
    return result.stderr + result.stdout if with_log else result.stdout


def render(
    values: Mapping[str, Any] | Path | None = None,
    *,
    release: str = RELEASE,
    namespace: str = NAMESPACE,
    version: str = "1.33.0",
) -> list[Object]:
    """Render the chart, hooks and tests included, as an API server of `version` would get it.

    Raises:
        HelmError: the values were refused.
    """
    text = values.read_text() if isinstance(values, Path) else yaml.safe_dump(dict(values or {}))
    return [
        each for each in yaml.load_all(rendered(text, release, namespace, version), Loader=yaml.CSafeLoader) if each
    ]


@functools.cache
def rendered(values: str, release: str = RELEASE, namespace: str = NAMESPACE, version: str = "1.33.0") -> str:
    """Return the chart as `helm template` prints it; once for the same values."""
    place = (f"--namespace={namespace}", f"--kube-version={version}")
    return helm("template", release, CHART, *place, "--values=-", input=values)


def of_kind(objects: Iterable[Object], *kinds: str) -> list[Object]:
    """Choose the objects of some kinds."""
    return [each for each in objects if each["kind"] in kinds]


def named(objects: Iterable[Object], kind: str, name: str) -> Object:
    """Return the one object of a kind and name."""
    (found,) = [each for each in objects if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def pod_templates(objects: Iterable[Object]) -> dict[str, Object]:
    """Return what runs: the pod specs of Deployments, Jobs and pods, by the object's name."""
    found = {}
    for each in objects:
        if each["kind"] in ("Deployment", "Job"):
            found[each["metadata"]["name"]] = each["spec"]["template"]["spec"]
        elif each["kind"] == "Pod":
            found[each["metadata"]["name"]] = each["spec"]
    return found
