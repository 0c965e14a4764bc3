"""Alerts, dashboard and monitors ask for what the operator shows, and an alert says what to do."""

import functools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from locus_operator.constants import ConditionReason
from locus_operator.telemetry import ControllerMetrics, WebhookMetrics
from tests.chart.helm import CHART, REPOSITORY, of_kind, render
from tests.chart.helm import named as object_named
from tests.chart.promtool import check_rules, rules

Object = dict[str, Any]
OF_THE_TARGET = {"namespace", "pod"}
"""Labels that Prometheus adds to what it reads from a ServiceMonitor's target."""
SELECTOR = re.compile(r"\b(locus_operator_\w+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r"(\w+)(?:=~|!~|!=|=)\"([^\"]*)\"")
RUNBOOK = (REPOSITORY / "docs/alerts.md").read_text()


@dataclass(frozen=True)
class Query:
    """An expression, and the labels of its result that texts beside it show."""

    name: str
    expression: str
    shown: frozenset[str]

    def __str__(self) -> str:
        return self.name


@functools.cache
def printed() -> dict[str, dict[str, set[str]]]:
    """The samples of `/metrics`, when all has happened that is counted: labels and their values, by name."""
    controller, webhook = ControllerMetrics(lambda: {("redis", "Ready"): 1}), WebhookMetrics()
    controller.reconciled("redis", "Ready", 0.1)
    controller.corrected("redis", 1)
    controller.expired("redis", 1)
    webhook.reviewed("injected", 0.1)
    found: dict[str, dict[str, set[str]]] = {}
    for metrics in (controller, webhook):
        for family in text_string_to_metric_families(generate_latest(metrics.registry).decode()):
            for sample in family.samples:
                labels = found.setdefault(sample.name, {})
                for label, value in sample.labels.items():
                    labels.setdefault(label, set()).add(value)
    return found


def alerts() -> Iterator[Query]:
    for rule in rules():
        texts = " ".join(rule["annotations"].values())
        yield Query(rule["alert"], rule["expr"], frozenset(re.findall(r"\$labels\.(\w+)", texts)))


def panels() -> Iterator[Query]:
    for panel in json.loads((CHART / "files/dashboard.json").read_text())["panels"]:
        assert panel["targets"]
        for target in panel["targets"]:
            shown = re.findall(r"\{\{\s*(\w+)\s*\}\}", target["legendFormat"])
            expression = target["expr"].replace("$__rate_interval", "5m")
            yield Query(panel["title"], expression, frozenset(shown))


@pytest.mark.parametrize("query", [*alerts(), *panels()], ids=str)
class TestQueries:
    def test_metrics_and_labels_exist(self, query: Query) -> None:
        selectors = SELECTOR.findall(query.expression)
        assert selectors
        for metric, matchers in selectors:
            assert metric in printed()
            asked = dict(MATCHER.findall(matchers))
            assert set(asked) - OF_THE_TARGET - set(printed()[metric]) == set(), metric
            assert "namespace" in asked, f"{metric}: the figures of another installation would be among them"

    def test_what_is_grouped_by_or_shown_is_there(self, query: Query) -> None:
        grouped = {label for each in re.findall(r"\bby \(([^)]*)\)", query.expression) for label in each.split(", ")}
        for metric, _ in SELECTOR.findall(query.expression):
            assert grouped - set(printed()[metric]) == set(), metric
        assert query.shown <= grouped

    def test_values_of_labels_exist(self, query: Query) -> None:
        known: dict[str, set[str]] = {
            "outcome": printed()["locus_operator_admissions_total"]["outcome"],
            "reason": set(ConditionReason),
            "namespace": {"locus-system", "$namespace"},
        }
        for _, matchers in SELECTOR.findall(query.expression):
            for label, values in MATCHER.findall(matchers):
                assert set(values.split("|")) <= known[label]

    def test_prometheus_reads_it(self, query: Query) -> None:
        check_rules([{"record": "query", "expr": query.expression}])


class TestAlerts:
    def test_nothing_is_left_to_be_replaced(self) -> None:
        for rule in rules({"controller": {"settings": {"driftIntervalSeconds": 90}}}):
            assert "$" not in rule["expr"] + rule.get("for", "")
            assert "$NAMESPACE" not in json.dumps(rule)

    def test_each_has_its_section_in_the_runbook(self) -> None:
        sections = re.findall(r"^## (LocusOperator\w+)$", RUNBOOK, re.MULTILINE)
        assert sections == [rule["alert"] for rule in rules()]

    def test_sections_have_the_severities(self) -> None:
        for rule in rules():
            section = RUNBOOK.partition(f"## {rule['alert']}\n")[2].partition("\n## ")[0]
            assert section.strip().startswith(f"*{rule['labels']['severity']}*"), rule["alert"]

    def test_they_link_to_where_the_runbook_is_published(self) -> None:
        url = "https://docs.example.com/alerts/"
        prometheus_rule = {"enabled": True, "runbookUrl": url, "alertLabels": {"team": "platform"}}
        (found,) = of_kind(render({"metrics": {"prometheusRule": prometheus_rule}}), "PrometheusRule")
        for rule in found["spec"]["groups"][0]["rules"]:
            assert rule["annotations"]["runbook_url"] == f"{url}#{rule['alert'].lower()}"
            assert rule["labels"]["team"] == "platform"
        assert not [rule for rule in rules() if "runbook_url" in rule["annotations"]]


class TestDashboard:
    def test_it_is_that_of_the_file(self) -> None:
        objects = render({"metrics": {"dashboard": {"enabled": True}}})
        document = object_named(objects, "ConfigMap", "locus-operator-dashboard")["data"]["locus-operator.json"]
        assert json.loads(document) == json.loads((CHART / "files/dashboard.json").read_text())

    def test_its_variable_lists_the_namespaces_of_operators(self) -> None:
        variables = json.loads((CHART / "files/dashboard.json").read_text())["templating"]["list"]
        (query,) = [each["query"] for each in variables if each["name"] == "namespace"]
        found = re.fullmatch(r"label_values\((\w+), namespace\)", query)
        assert found
        assert found[1] in printed()


class TestMonitors:
    def test_they_find_the_services_of_metrics(self) -> None:
        objects = render({"metrics": {"serviceMonitor": {"enabled": True}}})
        services = {each["metadata"]["name"]: each for each in of_kind(objects, "Service")}
        for monitor in of_kind(objects, "ServiceMonitor"):
            wanted = monitor["spec"]["selector"]["matchLabels"].items()
            found = [name for name, each in services.items() if wanted <= each["metadata"]["labels"].items()]
            assert found == [f"{monitor['metadata']['name']}-metrics"]
            ports = [each["name"] for each in services[found[0]]["spec"]["ports"]]
            assert [each["port"] for each in monitor["spec"]["endpoints"]] == ports
