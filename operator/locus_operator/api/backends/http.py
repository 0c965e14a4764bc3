"""`spec.backend.http`: a checkpoint service that exists already."""

from typing import Annotated

from pydantic import Field

from locus_operator.api.references import CertificateAuthority, SecretRef
from locus_operator.api.rules import SpecModel, rule
from locus_operator.api.shapes import BaseUrl, Text


class HTTPBackend(SpecModel):
    """A checkpoint service, such as `locus-memory serve`; the operator checks it and tells agents of it."""

    base_url: BaseUrl = Field(description="URL that the routes are under, such as https://memory.example.com/v1.")
    headers_secret_ref: SecretRef | None = Field(
        None, description="Secret whose every entry is sent as a header, such as Authorization."
    )
    health_path: Annotated[
        str,
        Text(
            "write a path that starts with '/', such as /health",
            "^/[-A-Za-z0-9_.~%/]*$",
            max_length=256,
        ),
    ] = Field("/health", description="Path under baseUrl that answers 2xx when the service is well.")
    ca: CertificateAuthority | None = Field(
        None, description="Certificates that may have signed the service's. Default: those of the system."
    )

    @rule(
        cel="!has(self.ca) || self.baseUrl.startsWith('https://')",
        message="ca is read with TLS only: write a baseUrl that starts with https://, or remove ca",
        field="baseUrl",
    )
    def _certificates_are_used(self) -> bool:
        return self.ca is None or self.base_url.startswith("https://")
