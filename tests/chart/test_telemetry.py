"""Alerts, dashboard and monitors ask for what the operator shows."""

import json
import re

from locus_operator.telemetry import ControllerMetrics, WebhookMetrics
from tests.chart.helm import CHART, named, of_kind, render


class TestTelemetry:
    def test_alerts_and_dashboard_ask_for_metrics_that_there_are(self) -> None:
        known = metric_names()
        for file in ("alerts.yaml", "dashboard.json"):
            asked = set(re.findall(r"\blocus_operator_[a-z_]+", (CHART / "files" / file).read_text()))
            assert asked
            assert asked - known == set(), file

    def test_nothing_is_left_to_be_replaced_in_alerts(self) -> None:
        values = {
            "metrics": {"prometheusRule": {"enabled": True}},
            "controller": {"settings": {"driftIntervalSeconds": 90}},
        }
        rule = named(render(values), "PrometheusRule", "locus-operator")
        expressions = [each["expr"] for each in rule["spec"]["groups"][0]["rules"]]
        assert not [each for each in expressions if "$" in each]
        assert any("> 3 * 90" in each for each in expressions)
        assert all('namespace="locus-system"' in each for each in expressions)

    def test_the_dashboard_is_a_document_with_queries(self) -> None:
        objects = render({"metrics": {"dashboard": {"enabled": True}}})
        document = json.loads(named(objects, "ConfigMap", "locus-operator-dashboard")["data"]["locus-operator.json"])
        assert all(target["expr"] for panel in document["panels"] for target in panel["targets"])

    def test_monitors_find_the_services_of_metrics(self) -> None:
        objects = render({"metrics": {"serviceMonitor": {"enabled": True}}})
        services = {each["metadata"]["name"]: each for each in of_kind(objects, "Service")}
        for monitor in of_kind(objects, "ServiceMonitor"):
            wanted = monitor["spec"]["selector"]["matchLabels"].items()
            found = [name for name, each in services.items() if wanted <= each["metadata"]["labels"].items()]
            assert found == [f"{monitor['metadata']['name']}-metrics"]
            ports = [each["name"] for each in services[found[0]]["spec"]["ports"]]
            assert [each["port"] for each in monitor["spec"]["endpoints"]] == ports


def metric_names() -> set[str]:
    """Names of samples as Prometheus sees them, whether or not there is one yet."""
    suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"], "gauge": [""]}
    return {
        family.name + suffix
        for metrics in (ControllerMetrics(dict), WebhookMetrics())
        for family in metrics.registry.collect()
        for suffix in suffixes[family.type]
    }
