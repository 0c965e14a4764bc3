"""docs/webhook-certificates.md and docs/alerts.md name what the chart makes, and what its processes say."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from locus_operator.constants import EventReason
from tests.chart.helm import CHART, REPOSITORY, named, of_kind, render

Object = dict[str, Any]
PAGES = {name: (REPOSITORY / "docs" / f"{name}.md").read_text() for name in ("webhook-certificates", "alerts")}
CERTIFICATES, ALERTS = PAGES["webhook-certificates"], PAGES["alerts"]
CERT_MANAGER: Object = {"webhook": {"certificate": {"source": "certManager"}}}
VALUES: Object = yaml.safe_load((CHART / "values.yaml").read_text())
SOURCE = "".join(path.read_text() for path in Path(REPOSITORY, "operator/locus_operator").rglob("*.py"))

each_page = pytest.mark.parametrize("page", PAGES)


def names() -> set[str]:
    """Names of what the chart makes, and of Secrets that are made for it."""
    found = {"locus-operator"}
    for objects in (render(), render(CERT_MANAGER)):
        found |= {each["metadata"]["name"] for each in objects}
        found |= {each["spec"]["secretName"] for each in of_kind(objects, "Certificate")}
        deployment = named(objects, "Deployment", "locus-operator-webhook")
        volumes = deployment["spec"]["template"]["spec"]["volumes"]
        found |= {each["secret"]["secretName"] for each in volumes if "secret" in each}
    return found


@each_page
def test_names_are_those_of_the_chart(page: str) -> None:
    asked = set(re.findall(r"\blocus-operator(?:-[a-z]+)*\b", PAGES[page]))
    assert len(asked) > 1
    assert asked - names() == set()


@each_page
def test_values_are_those_of_the_chart(page: str) -> None:
    asked = set(
        re.findall(r"(?:`|--set[ =])((?:webhook|controller|metrics|networkPolicy|rbac)\.[a-zA-Z.]+)", PAGES[page])
    )
    assert asked
    for path in asked:
        value: Any = VALUES
        for name in path.split("."):
            assert name in value, path
            value = value[name]


@each_page
def test_labels_find_pods(page: str) -> None:
    parts = {
        each["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"]
        for each in of_kind(render(), "Deployment")
    }
    assert set(re.findall(r"-l app\.kubernetes\.io/component=(\w+)", PAGES[page])) <= parts


@each_page
def test_the_log_says_so(page: str) -> None:
    """What stands for a value there is an ellipsis, or left out at the end."""
    said = re.findall(
        r"`((?:the (?:Lease|webhook|operator)|waiting for|there is no) [^`]+)`|\| grep '([^']+)'", PAGES[page]
    )
    quoted = [first or second for first, second in said]
    assert quoted
    for text in quoted:
        parts = [part.strip() for part in text.split("…") if part.strip()]
        assert all(part in SOURCE for part in parts), text


def test_events_are_those_of_the_operator() -> None:
    asked = set(re.findall(r"reason=(\w+)", ALERTS))
    assert asked
    assert asked <= set(EventReason)


class TestCertificates:
    def test_the_chain_is_that_of_the_chart(self) -> None:
        """Kind, name and Secret of the table's rows."""
        rows = re.findall(
            r"^\| (Issuer|Certificate) `([\w-]+)`[^|]*\|[^|]*\| (?:`([\w-]+)`)?", CERTIFICATES, re.MULTILINE
        )
        made = of_kind(render(CERT_MANAGER), "Issuer", "Certificate")
        wanted = {(each["kind"], each["metadata"]["name"], each["spec"].get("secretName", "")) for each in made}
        assert set(rows) == wanted

    def test_makers_are_those_of_the_schema(self) -> None:
        table = CERTIFICATES.partition("`webhook.certificate.source` |")[2].partition("\n\n")[0]
        sources = re.findall(r"^\|(?:[^|]*\|){2} `(\w+)`", table, re.MULTILINE)
        assert sources == ["selfManaged", "certManager", "existingSecret"]

    def test_the_permission_is_where_the_page_says(self) -> None:
        found = re.search(
            r"may `(\w+)` and `(\w+)` this one webhook configuration: `(\w+)` in the ClusterRole\s+`([\w-]+)`",
            CERTIFICATES,
        )
        assert found
        first, second, resource, role = found.groups()
        example = yaml.safe_load_all((REPOSITORY / "examples/operator-rbac.yaml").read_text())
        rules = named(list(example), "ClusterRole", role)["rules"]
        assert [(each["verbs"], len(each["resourceNames"])) for each in rules if resource in each["resources"]] == [
            ([first, second], 1)
        ]
        without = named(render(CERT_MANAGER), "ClusterRole", role)["rules"]
        assert not [each for each in without if resource in each["resources"]]
