"""cert-manager as the chart sees it: from Certificates to Secrets, and from there to `caBundle`, when a test says so.

By its documentation of Certificate, of SelfSigned and CA issuers, and of cainjector. What matters most: a CA that is
renewed leaves what it has signed as it is; a certificate's Secret has the CA of its issuer in `ca.crt`; `Never` keeps
the private key that is there.
"""

import base64
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.e2e.control_plane import ControlPlane, KubectlError
from tests.servers.tls import new_key, pem

INJECT_ANNOTATION = "cert-manager.io/inject-ca-from"

Object = dict[str, Any]
Entries = dict[str, bytes]


@dataclass(frozen=True)
class CertManager:
    """Works in one namespace.

    Args:
        cluster: where.
        namespace: the namespace.
    """

    cluster: ControlPlane
    namespace: str

    def issue(self, name: str) -> None:
        """Issue what a Certificate asks for, or issue it again; its issuer must be able to sign."""
        spec = self._get("certificates.cert-manager.io", name)["spec"]
        secret = self.secret(spec["secretName"])
        keep = spec["privateKey"]["rotationPolicy"] == "Never" and "tls.key" in secret
        key = _key(secret["tls.key"]) if keep else new_key()
        issuer = self._get("issuers.cert-manager.io", spec["issuerRef"]["name"])["spec"]
        if "selfSigned" in issuer:
            certificate = _sign(spec, key, _subject(spec), key)
            authority = certificate
        else:
            signer = self.secret(issuer["ca"]["secretName"])
            authority = signer["tls.crt"]
            certificate = _sign(spec, key, x509.load_pem_x509_certificate(authority).subject, _key(signer["tls.key"]))
        self._write(spec["secretName"], {"tls.crt": certificate, "tls.key": pem(key), "ca.crt": authority})

    def inject(self, configuration: str) -> None:
        """Write `caBundle` of a webhook configuration as its annotation asks for it: cainjector's part."""
        found = json.loads(self.cluster.kubectl("get", "mutatingwebhookconfiguration", configuration, "--output=json"))
        namespace, _, name = found["metadata"]["annotations"][INJECT_ANNOTATION].partition("/")
        assert namespace == self.namespace
        spec = self._get("certificates.cert-manager.io", name)["spec"]
        self.trust(configuration, self.secret(spec["secretName"])["ca.crt"])

    def trust(self, configuration: str, authority: bytes) -> None:
        """Write `caBundle` of a webhook configuration."""
        found = json.loads(self.cluster.kubectl("get", "mutatingwebhookconfiguration", configuration, "--output=json"))
        bundle = base64.b64encode(authority).decode()
        patch = [
            {"op": "add", "path": f"/webhooks/{index}/clientConfig/caBundle", "value": bundle}
            for index in range(len(found["webhooks"]))
        ]
        self.cluster.kubectl(
            "patch", "mutatingwebhookconfiguration", configuration, "--type=json", f"--patch={json.dumps(patch)}"
        )

    def secret(self, name: str) -> Entries:
        """The entries of a Secret; none if it is not there."""
        try:
            data = self._get("secret", name)["data"]
        except KubectlError:
            return {}
        return {key: base64.b64decode(value) for key, value in data.items()}

    def _get(self, kind: str, name: str) -> Object:
        return self.cluster.get(kind, name, self.namespace)

    def _write(self, name: str, entries: Entries) -> None:
        self.cluster.apply(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "type": "kubernetes.io/tls",
                "metadata": {"name": name, "namespace": self.namespace},
                "data": {key: base64.b64encode(value).decode() for key, value in entries.items()},
            }
        )


def _sign(
    spec: Object, key: ec.EllipticCurvePrivateKey, issuer: x509.Name, signer: ec.EllipticCurvePrivateKey
) -> bytes:
    now, is_authority = datetime.now(UTC), spec.get("isCA", False)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_subject(spec))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + _duration(spec["duration"]))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    names = [x509.DNSName(each) for each in spec.get("dnsNames", ())]
    addresses = [x509.IPAddress(ip_address(each)) for each in spec.get("ipAddresses", ())]
    if names or addresses:
        # Critical where the subject is empty: RFC 5280, 4.2.1.6.
        critical = "commonName" not in spec
        builder = builder.add_extension(x509.SubjectAlternativeName([*names, *addresses]), critical=critical)
    if "server auth" in spec.get("usages", ()):
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        builder = builder.add_extension(usage, critical=False)
    return builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _subject(spec: Object) -> x509.Name:
    common_name = spec.get("commonName")
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else [])


def _key(text: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(text, password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def _duration(text: str) -> timedelta:
    """Read a duration of Go's `time.ParseDuration`."""
    seconds = {"h": 3600.0, "m": 60.0, "s": 1.0}
    return timedelta(seconds=sum(float(n) * seconds[unit] for n, unit in re.findall(r"([\d.]+)([hms])", text)))
