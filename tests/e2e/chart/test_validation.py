"""Every documented combination of values, judged by a real API server; nothing is created."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.helm import COMBINATIONS, NAMESPACE, of_kind, render
from tests.e2e.control_plane import ControlPlane, KubectlError

Object = dict[str, Any]
FOREIGN = {
    "cert-manager.io/v1": ("Certificate", "Issuer"),
    "monitoring.coreos.com/v1": ("ServiceMonitor", "PrometheusRule"),
}
"""Kinds of other projects, whose own schemas are not here."""


@pytest.fixture(scope="module")
def judge(cluster: ControlPlane) -> ControlPlane:
    """The API server with all namespaces and kinds that the combinations name."""
    cluster.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "support"}},
        *(foreign_crd(version, kind) for version, kinds in FOREIGN.items() for kind in kinds),
    )
    cluster.wait_for_service_account("default", NAMESPACE)
    cluster.kubectl("wait", "crd", "--all", "--for=condition=Established", "--timeout=30s")
    return cluster


@pytest.mark.parametrize("values", COMBINATIONS, ids=lambda path: path.stem)
def test_the_api_server_takes_every_object(judge: ControlPlane, values: Path) -> None:
    objects = render(values, version=".".join(map(str, (*judge.version, 0))))
    for pod in of_kind(objects, "Pod"):
        pod["spec"]["serviceAccountName"] = "default"  # its own is not there: nothing is created
    accepted = dry_run(judge, objects)
    assert len(accepted) == len(objects)


def test_the_api_server_would_notice_a_field_that_there_is_not(judge: ControlPlane) -> None:
    (deployment, *_) = of_kind(render(), "Deployment")
    deployment["spec"]["template"]["spec"]["containers"][0]["resource"] = {}
    with pytest.raises(KubectlError, match=r"resource.*(not declared in schema|unknown field)"):
        dry_run(judge, [deployment])


def dry_run(cluster: ControlPlane, objects: list[Object]) -> list[str]:
    """Have the objects validated as by a server-side apply, which knows every field; returns their names."""
    output = cluster.kubectl(
        *("apply", "--server-side", "--dry-run=server", "--force-conflicts", "--filename=-", "--output=name"),
        "--validate=false",
        input=yaml.safe_dump_all(objects),
    )
    return output.split()


def foreign_crd(version: str, kind: str) -> Object:
    group, _, name = version.partition("/")
    plural = f"{kind.lower()}s"
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "names": {"kind": kind, "plural": plural},
            "scope": "Namespaced",
            "versions": [{"name": name, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }
