"""What can be set: documented, described by the schema, and refused with a useful message where it is wrong."""

import json
from typing import Any

import pytest
import yaml
from pydantic.alias_generators import to_camel

from hack import chart
from locus_operator.settings import Settings
from tests.chart.helm import CHART, HelmError, named, render

Object = dict[str, Any]
SCHEMA: Object = json.loads((CHART / "values.schema.json").read_text())
VALUES: Object = yaml.safe_load((CHART / "values.yaml").read_text())
DIGEST = f"sha256:{'0' * 64}"
# What the chart sets by itself.
OF_THE_CHART = {
    "namespace",
    "watchNamespaces",
    "leaderElection",
    "leaseName",
    "healthPort",
    "logFormat",
    "logLevel",
    "webhookCertificate",
    "webhookKey",
    "webhookWatch",
    "webhookPort",
    "webhookHealthPort",
    "webhookCertificateSecret",
    "webhookConfiguration",
    "webhookService",
    "webhookCertificateDays",
}


class TestDocumentation:
    def test_every_value_has_a_comment(self) -> None:
        documented = {each.path for each in chart.documented_values((CHART / "values.yaml").read_text())}
        assert set(chart.leaves(VALUES, documented)) - documented == set()

    @pytest.mark.parametrize("path", sorted(chart.generated()), ids=lambda path: path.name)
    def test_what_make_chart_writes_is_fresh(self, path: Any) -> None:
        assert path.read_text() == chart.generated()[path], "run `make chart`"

    def test_no_crd_is_left_from_before(self) -> None:
        assert set((CHART / "files" / "crds").iterdir()) == set(chart.crd_copies())


class TestSchema:
    def test_it_knows_the_values_of_the_file_and_no_others(self) -> None:
        in_schema = set(objects_of(SCHEMA)) - {"global"}  # Helm's own
        assert {path for path in in_schema if "." not in path} == set(VALUES)
        for path in in_schema:
            value: Any = VALUES
            for name in path.split(".")[:-1]:
                value = value[name]
            if path.split(".")[-2:-1] not in (["settings"], ["issuerRef"], ["resources"], ["namespaceSelector"]):
                assert path.rpartition(".")[2] in value, path

    def test_every_object_of_ours_is_closed(self) -> None:
        free = {"affinity", "podSecurityContext", "securityContext", "global"}  # Kubernetes' own
        for path, schema in objects_of(SCHEMA).items():
            if schema.get("type") == "object" and path.rpartition(".")[2] not in free:
                assert "additionalProperties" in schema, path

    def test_settings_are_those_of_the_operator(self) -> None:
        settings = {to_camel(name) for name in Settings.model_fields}
        offered = {
            name for part in ("controllerSettings", "webhookSettings") for name in SCHEMA["$defs"][part]["properties"]
        }
        assert offered == settings - OF_THE_CHART

    @pytest.mark.parametrize("name", SCHEMA["$defs"]["controllerSettings"]["properties"])
    def test_settings_have_the_bounds_of_the_operator(self, name: str) -> None:
        described = SCHEMA["$defs"]["controllerSettings"]["properties"][name]
        own = Settings.model_json_schema()["properties"]
        (field,) = [own[each] for each in own if to_camel(each) == name]
        for bound in ("minimum", "exclusiveMinimum", "maximum"):
            assert described.get(bound) == field.get(bound), bound


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"webhok": {}}, "at '': additional properties 'webhok' not allowed"),
        ({"webhook": {"failurePolicy": "fail"}}, "at '/webhook/failurePolicy': value must be one of 'Ignore', 'Fail'"),
        ({"webhook": {"timeoutSeconds": 31}}, "at '/webhook/timeoutSeconds': maximum: got 31, want 30"),
        (
            {"webhook": {"clientConfig": {"url": "http://a"}}},
            "at '/webhook/clientConfig/url': 'http://a' does not match",
        ),
        ({"webhook": {"clientConfig": {"url": "https://a/mutate"}}}, "at '/webhook/clientConfig/url'"),
        ({"webhook": {"certificate": {"source": "self"}}}, "must be one of 'selfManaged', 'certManager'"),
        ({"webhook": {"certificate": {"source": "existingSecret"}}}, "write the name of the Secret, or choose another"),
        ({"webhook": {"certificate": {"caBundle": "LS0tLS1CRUdJTi"}}}, "at '/webhook/certificate/caBundle'"),
        ({"webhook": {"port": 0}}, "at '/webhook/port': minimum: got 0, want 1"),
        ({"controller": {"replicas": "two"}}, "at '/controller/replicas': got string, want integer"),
        ({"controller": {"settings": {"worker": 3}}}, "additional properties 'worker' not allowed"),
        ({"controller": {"settings": {"leaseName": "mine"}}}, "additional properties 'leaseName' not allowed"),
        ({"controller": {"resources": {"limits": {"memory": "1 GB"}}}}, "at '/controller/resources/limits/memory'"),
        ({"controller": {"topologySpreadConstraints": [{"maxSkew": 1}]}}, "missing properties 'topologyKey'"),
        ({"watchNamespaces": "agents"}, "at '/watchNamespaces': got string, want array"),
        ({"watchNamespaces": ["Agents"]}, "at '/watchNamespaces/0': 'Agents' does not match pattern"),
        ({"image": {"digest": "0123"}}, "at '/image/digest': '0123' does not match pattern"),
        ({"image": {"repository": "Registry/Name"}}, "at '/image/repository'"),
        ({"imagePullSecrets": ["registry"]}, "at '/imagePullSecrets/0': got string, want object"),
        ({"logs": {"level": "info"}}, "at '/logs/level': value must be one of 'DEBUG', 'INFO', 'WARNING', 'ERROR'"),
        ({"metrics": {"serviceMonitor": {"interval": "30"}}}, "at '/metrics/serviceMonitor/interval'"),
        ({"commonLabels": {"team": 1}}, "at '/commonLabels/team': got number, want string"),
    ],
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else "",
)
def test_bad_values_are_refused_with_their_path(values: Object, message: str) -> None:
    with pytest.raises(HelmError) as refused:
        render(values)
    assert message in str(refused.value)


class TestSettings:
    def test_they_become_variables_that_the_operator_reads(self, monkeypatch: pytest.MonkeyPatch) -> None:
        chosen = {"workers": 20, "driftIntervalSeconds": 86400, "missingRetrySeconds": 2.5, "healthHost": "::"}
        objects = render({"controller": {"settings": chosen}, "watchNamespaces": ["a", "b"]})
        for name, value in environment(objects, "locus-operator-controller").items():
            monkeypatch.setenv(name, value)
        settings = Settings()
        assert {to_camel(name): value for name, value in settings if to_camel(name) in chosen} == chosen
        assert settings.watch_namespaces == ("a", "b")
        assert (settings.leader_election, settings.lease_name) == (True, "locus-operator")
        assert (settings.webhook_certificate_secret, settings.webhook_service) == (
            "locus-operator-webhook-tls",
            "locus-operator-webhook",
        )

    def test_only_a_controller_that_makes_the_certificate_is_told_to(self) -> None:
        objects = render({"webhook": {"certificate": {"source": "certManager"}}})
        assert not [each for each in environment(objects, "locus-operator-controller") if "CERTIFICATE" in each]

    def test_a_digest_decides_which_image_it_is(self) -> None:
        objects = render({"image": {"repository": "registry.example.com/own", "tag": "7", "digest": DIGEST}})
        (container,) = named(objects, "Deployment", "locus-operator-webhook")["spec"]["template"]["spec"]["containers"]
        assert container["image"] == f"registry.example.com/own:7@{DIGEST}"


def environment(objects: list[Object], deployment: str) -> dict[str, str]:
    """Variables with values of their own."""
    (container,) = named(objects, "Deployment", deployment)["spec"]["template"]["spec"]["containers"]
    return {each["name"]: each["value"] for each in container["env"] if "value" in each}


def objects_of(schema: Object, path: str = "") -> dict[str, Object]:
    """Schemas by path, references resolved."""
    found: dict[str, Object] = {}
    for name, child in resolved(schema).get("properties", {}).items():
        below = f"{path}.{name}" if path else name
        found[below] = resolved(child)
        found |= objects_of(child, below)
    return found


def resolved(schema: Object) -> Object:
    reference = schema.get("$ref", "")
    return dict(SCHEMA["$defs"][reference.rpartition("/")[2]]) if reference else schema
