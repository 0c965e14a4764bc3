"""Every value does something: the chart is rendered with another one, and comes out differently."""

import functools
import json
from typing import Any

import pytest
import yaml

from hack import chart
from tests.chart.helm import CHART, Object, rendered

TEXT = (CHART / "values.yaml").read_text()
VALUES: Object = yaml.safe_load(TEXT)
PATHS = [each.path for each in chart.documented_values(TEXT)]
# Where a value cannot simply be another number, word or switch.
OTHERS: dict[str, Any] = {
    "watchNamespaces": ["agents"],
    "image.digest": f"sha256:{'0' * 64}",
    "image.pullPolicy": "Always",
    "logs.format": "text",
    "logs.level": "DEBUG",
    "imagePullSecrets": [{"name": "registry"}],
    "controller.settings": {"workers": 3},
    "webhook.settings": {"healthHost": "::"},
    "webhook.failurePolicy": "Fail",
    "webhook.excludedNamespaces": ["other"],
    "webhook.namespaceSelector": {"matchLabels": {"a": "b"}},
    "webhook.clientConfig.url": "https://webhook.example.com",
    "webhook.certificate.source": "certManager",
    "webhook.certificate.caBundle": "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----",
    "webhook.certificate.issuerRef": {"name": "other"},
    "webhook.certificate.duration": "24h",
    "webhook.certificate.renewBefore": "8h",
    "metrics.serviceMonitor.interval": "7s",
    "metrics.prometheusRule.runbookUrl": "https://docs.example.com/alerts/",
    "networkPolicy.dnsPorts": [8053],
    "networkPolicy.apiServerPorts": [16443],
    "networkPolicy.metricsFrom": [{"podSelector": {}}],
    "networkPolicy.controllerEgress": [{"to": [{"podSelector": {}}]}],
}
BY_NAME: dict[str, Any] = {
    "affinity": {"nodeAffinity": {}},
    "extraEnv": [{"name": "A", "value": "b"}],
    "extraEnvFrom": [{"configMapRef": {"name": "a"}}],
    "extraVolumes": [{"name": "a", "emptyDir": {}}],
    "extraVolumeMounts": [{"name": "a", "mountPath": "/a"}],
    "resources": {"requests": {"cpu": "1m"}},
    "tolerations": [{"operator": "Exists"}],
    "topologySpreadConstraints": [],
}
# What a value needs beside it to be looked at.
BESIDE: dict[str, Object] = {
    "webhook.certificate.existingSecret": {"webhook": {"certificate": {"source": "existingSecret"}}},
    "webhook.certificate.caBundle": {"webhook": {"certificate": {"source": "existingSecret", "existingSecret": "tls"}}},
    **{
        f"webhook.certificate.{name}": {"webhook": {"certificate": {"source": "certManager"}}}
        for name in ("issuerRef", "duration", "renewBefore")
    },
    **{
        f"{part}.serviceAccount.name": {part: {"serviceAccount": {"create": True}}}
        for part in ("controller", "webhook")
    },
    **{
        f"{part}.serviceAccount.create": {part: {"serviceAccount": {"name": "mine"}}}
        for part in ("controller", "webhook")
    },
}
EVERYTHING: Object = {
    "metrics": {name: {"enabled": True} for name in ("serviceMonitor", "prometheusRule", "dashboard")},
    "networkPolicy": {"enabled": True},
}
# Where the default is refused beside what BESIDE asks for.
FIRST: dict[str, Any] = {"webhook.certificate.existingSecret": "first"}


def at(values: Object, path: str) -> Any:
    return functools.reduce(lambda inner, name: inner[name], path.split("."), values)


def nested(path: str, value: Any) -> Object:
    for name in reversed(path.split(".")):
        value = {name: value}
    return dict(value)


def merged(one: Object, two: Object) -> Object:
    both = dict(one)
    for key, value in two.items():
        both[key] = merged(both[key], value) if isinstance(value, dict) and isinstance(both.get(key), dict) else value
    return both


def other_than(path: str) -> Any:
    """Another value, as its kind has them."""
    default = at(VALUES, path)
    if path in OTHERS:
        return OTHERS[path]
    if (name := path.rpartition(".")[2]) in BY_NAME:
        return BY_NAME[name]
    if isinstance(default, bool):
        return not default
    if isinstance(default, int):
        return default + 1
    return {**default, "other": "value"} if isinstance(default, dict) else "other"


@pytest.mark.parametrize("path", PATHS)
def test_another_value_makes_another_chart(path: str) -> None:
    base = merged(EVERYTHING, BESIDE.get(path, {}))
    base = merged(base, nested(path, FIRST.get(path, at(VALUES, path))))
    changed = merged(base, nested(path, other_than(path)))
    before, after = (rendered(json.dumps(each)) for each in (base, changed))
    assert before != after
