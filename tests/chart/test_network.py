"""The NetworkPolicies, read as a network plugin reads them: what is needed passes, what is not does not.

Addresses and ports are those that a plugin sees, which is after a Service's address was replaced by a pod's.
"""

from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from tests.chart.helm import COMBINATIONS, NAMESPACE, of_kind, render

Object = dict[str, Any]
HARDENED = next(path for path in COMBINATIONS if path.stem == "hardened-values")
ON: Object = {"networkPolicy": {"enabled": True}}
SCRAPED: Object = {
    "networkPolicy": {"enabled": True, "metricsFrom": [{"podSelector": {"matchLabels": {"app": "prom"}}}]}
}


@dataclass(frozen=True)
class Peer:
    """The other end of a connection.

    Attributes:
        address: Its address.
        labels: Of the pod, if it is one.
        namespace: Labels of its namespace.
        name: Name of its namespace.
    """

    address: str = "192.0.2.1"
    labels: Object = field(default_factory=dict)
    namespace: Object = field(default_factory=dict)
    name: str = ""


API_SERVER = Peer("10.0.0.1")
DNS = Peer("10.244.0.2", {"k8s-app": "kube-dns"}, {"kubernetes.io/metadata.name": "kube-system"}, "kube-system")
PROMETHEUS = Peer("10.244.0.3", {"app": "prom"}, {"kubernetes.io/metadata.name": "monitoring"}, "monitoring")
NEIGHBOUR = Peer("10.244.0.4", {"app": "prom"}, {"kubernetes.io/metadata.name": NAMESPACE}, NAMESPACE)
DATABASE = Peer("10.1.2.3")
INTERNET = Peer("203.0.113.9")


def allowed(objects: list[Object], part: str, direction: str, peer: Peer, port: int, protocol: str = "TCP") -> bool:
    """Whether a connection of a pod passes: no policy chooses the pod, or one that does lets it."""
    labels, ports = pod(objects, part)
    choosing = [
        each["spec"]
        for each in of_kind(objects, "NetworkPolicy")
        if each["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
        and direction.capitalize() in each["spec"]["policyTypes"]
    ]
    # A named port is one of the pod that is connected to.
    names = ports if direction == "ingress" else {}
    side = "from" if direction == "ingress" else "to"
    rules = [rule for spec in choosing for rule in spec.get(direction) or []]
    return not choosing or any(passes(rule, side, peer, port, protocol, names) for rule in rules)


def pod(objects: list[Object], part: str) -> tuple[Object, dict[str, int]]:
    """Labels of a part's pods, and their ports by name."""
    for each in of_kind(objects, "Deployment", "Job", "Pod"):
        template = each["spec"].get("template", each)
        if template["metadata"]["labels"]["app.kubernetes.io/component"] == part:
            (container,) = template["spec"]["containers"]
            ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
            return template["metadata"]["labels"], ports
    raise LookupError(part)


def passes(rule: Object, side: str, peer: Peer, port: int, protocol: str, names: dict[str, int]) -> bool:
    ports = rule.get("ports")
    if ports and (protocol, port) not in [(each["protocol"], names.get(each["port"], each["port"])) for each in ports]:
        return False
    return side not in rule or any(is_peer(each, peer) for each in rule[side])


def is_peer(wanted: Object, peer: Peer) -> bool:
    if "ipBlock" in wanted:
        return ip_address(peer.address) in ip_network(wanted["ipBlock"]["cidr"])
    pods: Object = wanted.get("podSelector", {}).get("matchLabels", {})
    if "namespaceSelector" in wanted:
        there = wanted["namespaceSelector"].get("matchLabels", {}).items() <= peer.namespace.items()
    else:
        there = peer.name == NAMESPACE
    return there and pods.items() <= peer.labels.items()


@pytest.mark.parametrize("values", [ON, HARDENED], ids=["defaults", "hardened"])
class TestNeeded:
    @pytest.mark.parametrize("part", ["controller", "webhook", "test", "uninstall-guard"])
    def test_all_reach_the_api_server_and_dns(self, values: Any, part: str) -> None:
        objects = render(values)
        assert allowed(objects, part, "egress", API_SERVER, 6443)
        for protocol in ("UDP", "TCP"):
            assert allowed(objects, part, "egress", DNS, 53, protocol)
            assert allowed(objects, part, "egress", DNS, 5353, protocol)  # OpenShift's

    def test_the_api_server_reaches_the_webhook_wherever_it_runs(self, values: Any) -> None:
        assert allowed(render(values), "webhook", "ingress", API_SERVER, 9443)

    def test_helm_test_reaches_the_webhooks_pods(self, values: Any) -> None:
        objects = render(values)
        labels, _ = pod(objects, "webhook")
        assert allowed(objects, "test", "egress", Peer("10.244.0.5", labels, {}, NAMESPACE), 9443)

    @pytest.mark.parametrize(("part", "port"), [("controller", 8080), ("webhook", 8081)])
    def test_prometheus_reaches_the_metrics(self, values: Any, part: str, port: int) -> None:
        assert allowed(render(values), part, "ingress", PROMETHEUS, port)

    def test_the_controller_reaches_its_databases(self, values: Any) -> None:
        for port in (5432, 6379):
            assert allowed(render(values), "controller", "egress", DATABASE, port)


class TestChosen:
    def test_without_rules_of_ones_own_the_controller_reaches_every_backend(self) -> None:
        for port in (443, 1521, 5432, 6379, 9200, 26379, 31234):
            assert allowed(render(ON), "controller", "egress", INTERNET, port)

    def test_with_them_it_reaches_nothing_else(self) -> None:
        objects = render(HARDENED)
        assert not allowed(objects, "controller", "egress", INTERNET, 5432)
        assert not allowed(objects, "controller", "egress", DATABASE, 1521)

    def test_ports_are_those_of_the_values(self) -> None:
        values: Object = {
            "networkPolicy": {"enabled": True, "apiServerPorts": [16443], "dnsPorts": [8053]},
            "webhook": {"port": 10443, "clientConfig": {"url": "https://webhook.example.com:8443"}},
        }
        objects = render(values)
        assert allowed(objects, "webhook", "ingress", API_SERVER, 10443)
        assert not allowed(objects, "webhook", "ingress", API_SERVER, 9443)
        assert allowed(objects, "webhook", "egress", API_SERVER, 16443)
        assert not allowed(objects, "webhook", "egress", API_SERVER, 6443)
        assert allowed(objects, "webhook", "egress", DNS, 8053, "UDP")
        assert not allowed(objects, "webhook", "egress", DNS, 53, "UDP")
        for port in (10443, 8443):
            assert allowed(objects, "test", "egress", INTERNET, port)

    def test_a_url_without_a_port_is_one_with_443(self) -> None:
        values = {**ON, "webhook": {"clientConfig": {"url": "https://webhook.example.com"}}}
        objects = render({**values, "networkPolicy": {"enabled": True, "apiServerPorts": [6443]}})
        assert allowed(objects, "test", "egress", INTERNET, 443)


class TestRefused:
    @pytest.mark.parametrize("part", ["webhook", "test", "uninstall-guard"])
    def test_who_needs_no_database_reaches_none(self, part: str) -> None:
        assert not allowed(render(ON), part, "egress", DATABASE, 5432)

    @pytest.mark.parametrize("part", ["controller", "test", "uninstall-guard"])
    def test_nobody_calls_who_serves_nothing(self, part: str) -> None:
        assert not allowed(render(ON), part, "ingress", API_SERVER, 9443)

    @pytest.mark.parametrize(("part", "port"), [("controller", 8080), ("webhook", 8081)])
    def test_metrics_are_for_those_who_were_named(self, part: str, port: int) -> None:
        objects = render(SCRAPED)
        assert allowed(objects, part, "ingress", NEIGHBOUR, port)
        assert not allowed(objects, part, "ingress", PROMETHEUS, port)  # its namespace was not named
        assert not allowed(objects, part, "ingress", INTERNET, port)

    def test_without_policies_everything_passes(self) -> None:
        assert of_kind(render(), "NetworkPolicy") == []
        assert allowed(render(), "webhook", "egress", DATABASE, 5432)
