"""All pods of the chart, of hooks and tests too, against the restricted Pod Security Standard."""

import copy
from pathlib import Path
from typing import Any

import pytest

from tests.chart.helm import COMBINATIONS, pod_templates, render
from tests.chart.pod_security import violations

Object = dict[str, Any]
ON_THE_NODES_NETWORK = {"placed-values": {"locus-operator-webhook", "memory-webhook"}}
"""`webhook.hostNetwork` is what it says, and README.md says so: not even the baseline allows it."""


@pytest.mark.parametrize("values", COMBINATIONS, ids=lambda path: path.stem)
def test_every_pod_meets_the_standard(values: Path) -> None:
    for name, spec in pod_templates(render(values)).items():
        known = ["hostNetwork"] if name in ON_THE_NODES_NETWORK.get(values.stem, ()) else []
        assert list(violations(spec)) == known, name


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        (["hostNetwork"], True, "hostNetwork"),
        (["hostPID"], True, "hostPID"),
        (["securityContext", "runAsNonRoot"], False, "controller: runAsNonRoot is not true"),
        (["securityContext", "runAsUser"], 0, "controller: runAsUser is 0"),
        (["securityContext", "seccompProfile"], {"type": "Unconfined"}, "controller: seccompProfile is Unconfined"),
        (["securityContext", "seccompProfile"], None, "controller: seccompProfile is None"),
        (["securityContext", "sysctls"], [{"name": "kernel.msgmax", "value": "1"}], "sysctl kernel.msgmax"),
        (["volumes", 0], {"name": "host", "hostPath": {"path": "/"}}, "volume host: hostPath"),
        (["containers", 0, "securityContext"], {}, "controller: allowPrivilegeEscalation is not false"),
        (["containers", 0, "securityContext", "privileged"], True, "controller: privileged"),
        (["containers", 0, "securityContext", "capabilities"], {}, "controller: capabilities: ALL are not dropped"),
        (
            ["containers", 0, "securityContext", "capabilities", "add"],
            ["SYS_ADMIN"],
            "controller: capabilities: SYS_ADMIN",
        ),
        (["containers", 0, "securityContext", "procMount"], "Unmasked", "controller: procMount is Unmasked"),
        (["containers", 0, "ports", 0, "hostPort"], 8080, "controller: hostPort"),
        (["initContainers"], [{"name": "first"}], "first: allowPrivilegeEscalation is not false"),
    ],
    ids=lambda value: ".".join(map(str, value)) if isinstance(value, list) and value and value[0] else "",
)
def test_what_is_not_allowed_is_seen(path: list[Any], value: Any, complaint: str) -> None:
    spec = copy.deepcopy(pod_templates(render())["locus-operator-controller"])
    inner: Any = spec
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    assert complaint in list(violations(spec))
