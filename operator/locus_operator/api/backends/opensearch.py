"""`spec.backend.opensearch`."""

from typing import Annotated

from pydantic import Field

from locus_operator.api.references import AdminSecretRef, CertificateAuthority
from locus_operator.api.rules import SpecModel, fixed_at_creation
from locus_operator.api.shapes import HostUrls, Text, Whole


class OpenSearchBackend(SpecModel):
    """Indices with a role and two users on an OpenSearch cluster."""

    admin_secret_ref: AdminSecretRef = Field(
        description="Credentials of a user that may manage indices, templates, roles and users."
    )
    hosts: HostUrls = Field(description="URLs of the nodes, such as https://search.example.com:9200.")
    ca: CertificateAuthority | None = Field(
        None, description="Certificates that may have signed the nodes'. Default: those of the system."
    )
    index_prefix: (
        Annotated[
            str,
            Text(
                "write an index prefix in lower case: a letter or digit, then letters, digits, '_' and "
                "'-', at most 100",
                "^[a-z0-9][-a-z0-9_]*$",
                max_length=100,
            ),
        ]
        | None
    ) = Field(
        None,
        description="Start of the name of every index of this store alone. Default: "
        "locus_<namespace>_<name>. "
        "Fixed at creation.",
    )
    shards: Annotated[int, Whole(1, 1024)] = Field(
        1, description="Primary shards of each index. Fixed at creation, as in OpenSearch."
    )
    replicas: Annotated[int, Whole(0, 32)] = Field(1, description="Copies of each shard.")

    _prefix_is_fixed = fixed_at_creation("index_prefix", "indexPrefix", "create another store for another prefix")
    _shards_are_fixed = fixed_at_creation("shards", "shards", "create another store and copy the data")
