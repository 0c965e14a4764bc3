"""Who makes the webhook's certificate: what cert-manager is asked for, and that no two makers share a Secret."""

import re
from datetime import timedelta
from typing import Any

import pytest

from tests.chart.helm import HelmError, named, of_kind, render

Object = dict[str, Any]
CERTIFICATE = "locus-operator-webhook"
ISSUER = {"kind": "ClusterIssuer", "name": "internal", "group": "cert-manager.io"}
# What cert-manager's reference of its API has, as far as anybody may want it here.
FIELDS = {
    "Certificate": {
        *("commonName", "dnsNames", "duration", "ipAddresses", "isCA", "issuerRef", "privateKey", "renewBefore"),
        *("secretName", "usages"),
    },
    "Issuer": {"ca", "selfSigned"},
}


def certificates(**values: Any) -> list[Object]:
    """All objects, with cert-manager as the source."""
    url = values.pop("url", "")
    webhook = {"certificate": {"source": "certManager"} | values, "clientConfig": {"url": url}}
    return render({"webhook": webhook})


def duration(text: str) -> timedelta:
    """Read a duration as Go writes it."""
    units = {"h": "hours", "m": "minutes", "s": "seconds"}
    return timedelta(**{units[unit]: float(number) for number, unit in re.findall(r"([\d.]+)([hms])", text)})


class TestChain:
    def test_a_self_signed_ca_signs_what_the_webhook_serves(self) -> None:
        objects = certificates()
        serving = named(objects, "Certificate", CERTIFICATE)["spec"]
        issuer = named(objects, "Issuer", serving["issuerRef"]["name"])["spec"]
        (authority,) = [
            each["spec"]
            for each in of_kind(objects, "Certificate")
            if each["spec"]["secretName"] == issuer["ca"]["secretName"]
        ]
        assert "isCA" not in serving
        assert authority["isCA"] is True
        assert authority["commonName"], "or the name of the issuer would be empty, which RFC 5280 forbids"
        root = named(objects, "Issuer", authority["issuerRef"]["name"])["spec"]
        assert root == {"selfSigned": {}}

    @pytest.mark.parametrize("validity", ["1h", "2160h", "1000h30m"])
    def test_the_ca_outlives_all_that_it_signs(self, validity: str) -> None:
        authority = named(certificates(duration=validity, renewBefore="20m"), "Certificate", f"{CERTIFICATE}-ca")[
            "spec"
        ]
        assert duration(authority["renewBefore"]) >= duration(validity)
        assert duration(authority["duration"]) > 2 * duration(authority["renewBefore"])

    def test_the_ca_keeps_its_key_and_the_webhook_does_not(self) -> None:
        """So that before and after a renewal of the CA, each of the two verifies what either has signed."""
        objects = certificates()
        policies = {
            each["metadata"]["name"]: each["spec"]["privateKey"]["rotationPolicy"]
            for each in of_kind(objects, "Certificate")
        }
        assert policies == {f"{CERTIFICATE}-ca": "Never", CERTIFICATE: "Always"}

    def test_an_issuer_of_ones_own_replaces_all_of_it(self) -> None:
        objects = certificates(issuerRef=ISSUER)
        assert not of_kind(objects, "Issuer")
        (serving,) = of_kind(objects, "Certificate")
        assert serving["spec"]["issuerRef"] == ISSUER

    @pytest.mark.parametrize("values", [{}, {"issuerRef": ISSUER}], ids=["own CA", "issuer"])
    def test_objects_have_fields_that_cert_manager_knows(self, values: Object) -> None:
        for each in of_kind(certificates(**values), *FIELDS):
            assert set(each["spec"]) - FIELDS[each["kind"]] == set()
            reference = each["spec"].get("issuerRef", {"name": "", "kind": "Issuer", "group": "cert-manager.io"})
            assert set(reference) == {"name", "kind", "group"}
            key = each["spec"].get("privateKey", {})
            assert (key.get("algorithm", "ECDSA"), key.get("size", 256)) == ("ECDSA", 256)


class TestServed:
    def test_it_is_for_service_and_url(self) -> None:
        spec = named(certificates(url="https://10.1.2.3:9443"), "Certificate", CERTIFICATE)["spec"]
        assert spec["dnsNames"] == [
            "locus-operator-webhook.locus-system.svc",
            "locus-operator-webhook.locus-system.svc.cluster.local",
        ]
        assert spec["ipAddresses"] == ["10.1.2.3"]
        assert spec["usages"] == ["digital signature", "server auth"]

    def test_its_ca_is_what_the_api_server_gets(self) -> None:
        configuration = named(certificates(), "MutatingWebhookConfiguration", "locus-operator")
        source = configuration["metadata"]["annotations"]["cert-manager.io/inject-ca-from"]
        assert source == f"locus-system/{CERTIFICATE}"


class TestSecrets:
    def test_the_pods_mount_what_the_certificate_is_written_to(self) -> None:
        objects = certificates()
        assert mounted(objects) == named(objects, "Certificate", CERTIFICATE)["spec"]["secretName"]

    def test_each_maker_has_one_of_its_own(self) -> None:
        """Or who is asked today would meet what the other has written, with the other's labels and keys."""
        objects = certificates()
        theirs = [each["spec"]["secretName"] for each in of_kind(objects, "Certificate")]
        assert len({*theirs, mounted(render())}) == 3

    def test_one_that_somebody_brings_must_not_be_one_of_these(self) -> None:
        for taken in (mounted(render()), mounted(certificates())):
            with pytest.raises(HelmError, match=f"webhook.certificate.existingSecret: .*{taken}.* choose another name"):
                render({"webhook": {"certificate": {"source": "existingSecret", "existingSecret": taken}}})


def mounted(objects: list[Object]) -> str:
    """The Secret of the webhook's pods."""
    volumes = named(objects, "Deployment", CERTIFICATE)["spec"]["template"]["spec"]["volumes"]
    (found,) = [each["secret"]["secretName"] for each in volumes if "secret" in each]
    return str(found)
