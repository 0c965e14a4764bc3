"""`spec.backend.ociBucket`: OCI Object Storage."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from locus_operator.api.references import SecretRef
from locus_operator.api.rules import SpecModel, fixed_at_creation, rule
from locus_operator.api.shapes import BaseUrl, ObjectName, Text

_Region = Annotated[
    str,
    Text("write a region's identifier such as eu-frankfurt-1", "^[a-z]{2,4}(-[a-z0-9]+)+$", max_length=64),
]
_BucketName = Annotated[
    str,
    Text(
        "write a bucket's name: letters, digits, '-', '_' and '.', at most 256",
        "^[-A-Za-z0-9_.]+$",
        max_length=256,
    ),
]


class OCIAuthType(StrEnum):
    """Who a process is to OCI."""

    WORKLOAD_IDENTITY = "workloadIdentity"
    INSTANCE_PRINCIPAL = "instancePrincipal"
    RESOURCE_PRINCIPAL = "resourcePrincipal"
    API_KEY = "apiKey"


class OCIPrincipal(SpecModel):
    """How one side signs its requests."""

    type: OCIAuthType = Field(
        OCIAuthType.WORKLOAD_IDENTITY,
        description="workloadIdentity (the pod's service account on OKE), instancePrincipal (the node), "
        "resourcePrincipal, or apiKey with secretRef.",
    )
    secret_ref: SecretRef | None = Field(
        None,
        description="For apiKey: a Secret with the keys tenancy, user, fingerprint, privateKey and, for an "
        "encrypted "
        "key, passphrase.",
    )

    @rule(
        cel="self.type != 'apiKey' || has(self.secretRef)",
        message="type apiKey needs secretRef: write secretRef.name, the Secret with the key",
        field="secretRef",
    )
    def _key_is_named(self) -> bool:
        return self.type is not OCIAuthType.API_KEY or self.secret_ref is not None

    @rule(
        cel="self.type == 'apiKey' || !has(self.secretRef)",
        message="only type apiKey reads secretRef: remove it, or write type: apiKey",
        field="type",
    )
    def _key_is_used(self) -> bool:
        return self.type is OCIAuthType.API_KEY or self.secret_ref is None


class OCIAgents(OCIPrincipal):
    """How the agents sign, and what tells them from everybody else in the IAM statements that let them in."""

    cluster_id: (
        Annotated[
            str,
            Text(
                "write the OCID of an OKE cluster, which starts with ocid1.cluster.",
                r"^ocid1\.cluster\.[-a-z0-9]*\.[-a-z0-9]*\.[-a-zA-Z0-9._]+$",
                max_length=255,
            ),
        ]
        | None
    ) = Field(
        None,
        description="For workloadIdentity: OCID of the OKE cluster that the agents run in. Without it the IAM "
        "statements have a gap that somebody has to fill in.",
    )
    service_account: ObjectName | None = Field(
        None,
        description="For workloadIdentity: the agents' service account. Default: any of the store's namespace.",
    )
    dynamic_group: (
        Annotated[
            str,
            Text(
                "write the name of a dynamic group, or domain/name for one of an identity domain",
                "^[A-Za-z0-9][-A-Za-z0-9_.]*(/[A-Za-z0-9][-A-Za-z0-9_.]*)?$",
                max_length=200,
            ),
        ]
        | None
    ) = Field(
        None,
        description="For instancePrincipal and resourcePrincipal: the dynamic group that the agents are in. Without "
        "it the IAM statements have a gap that somebody has to fill in.",
    )

    @rule(
        cel="self.type == 'workloadIdentity' || (!has(self.clusterId) && !has(self.serviceAccount))",
        message="only type workloadIdentity reads clusterId and serviceAccount: remove them",
        field="type",
    )
    def _workload_is_used(self) -> bool:
        given = self.cluster_id is not None or self.service_account is not None
        return self.type is OCIAuthType.WORKLOAD_IDENTITY or not given

    @rule(
        cel="self.type in ['instancePrincipal', 'resourcePrincipal'] || !has(self.dynamicGroup)",
        message="only types instancePrincipal and resourcePrincipal read dynamicGroup: remove it",
        field="type",
    )
    def _group_is_used(self) -> bool:
        in_groups = (OCIAuthType.INSTANCE_PRINCIPAL, OCIAuthType.RESOURCE_PRINCIPAL)
        return self.type in in_groups or self.dynamic_group is None


class OCIAuth(SpecModel):
    """Who the operator and the agents are to OCI."""

    operator: OCIPrincipal = Field(
        OCIPrincipal(), description="How the operator signs: it manages the bucket and its lifecycle rules."
    )
    agents: OCIAgents = Field(OCIAgents(), description="How the agents sign: they read and write objects.")


class OCIReplication(SpecModel):
    """A copy of every object in another region."""

    destination_region: _Region = Field(description="Region of the copy, such as eu-amsterdam-1.")
    destination_bucket: _BucketName = Field(description="An existing bucket there; nothing else may write to it.")


class OCIStorageTier(StrEnum):
    """Tier of new objects. Not Archive: its objects cannot be loaded before somebody restores them.

    Buckets have the tiers Standard and Archive alone; a lifecycle rule moves objects to InfrequentAccess after a day.
    """

    STANDARD = "Standard"
    INFREQUENT_ACCESS = "InfrequentAccess"


class OCIVersioning(StrEnum):
    """Whether the bucket keeps replaced and deleted objects."""

    ENABLED = "Enabled"
    DISABLED = "Disabled"


class OCIBucketBackend(SpecModel):
    """A bucket of OCI Object Storage with its lifecycle rules."""

    namespace: (
        Annotated[
            str,
            Text(
                "write the tenancy's Object Storage namespace (`oci os ns get`)",
                "^[A-Za-z0-9][-A-Za-z0-9_]*$",
                max_length=128,
            ),
        ]
        | None
    ) = Field(
        None,
        description="Object Storage namespace. Default: the one of the operator's tenancy. Fixed at creation.",
    )
    compartment_id: Annotated[
        str,
        Text(
            "write the OCID of a compartment, which starts with ocid1.compartment. (or ocid1.tenancy. for the root)",
            r"^ocid1\.(compartment|tenancy)\.[-a-z0-9]*\.[-a-z0-9]*\.[-a-zA-Z0-9._]+$",
            max_length=255,
        ),
    ] = Field(description="OCID of the compartment that the bucket is in.")
    region: _Region = Field(description="Region of the bucket, such as eu-frankfurt-1. Fixed at creation.")
    endpoint: BaseUrl | None = Field(
        None, description="URL of the Object Storage API, for private endpoints. Default: the region's own."
    )
    identity_endpoint: BaseUrl | None = Field(
        None,
        description="URL of the Identity API in the tenancy's home region, where policies are written. Default: that "
        "of the bucket's region.",
    )
    bucket_name: _BucketName | None = Field(
        None, description="The bucket. Default: locus_<namespace>_<name>. Fixed at creation."
    )
    prefix: (
        Annotated[
            str,
            Text(
                "write a prefix of letters, digits and _ . / - that starts with a letter or digit and ends "
                "with '/', "
                "such as agents/support/",
                "^[A-Za-z0-9][-A-Za-z0-9_./]*/$",
                max_length=200,
                min_length=2,
            ),
        ]
        | None
    ) = Field(
        None,
        description="Start of every object's name, where stores share a bucket that exists. In a class it is "
        "followed by <namespace>/<name>/ of the store. Default: none, the bucket is the store's own. Fixed at "
        "creation.",
    )
    storage_tier: OCIStorageTier = Field(
        OCIStorageTier.STANDARD,
        description="Tier of objects that are a day old. For the archive tier use retention.archiveAfter.",
    )
    versioning: OCIVersioning = Field(
        OCIVersioning.DISABLED,
        description="Enabled keeps replaced and deleted objects until retention removes them as well.",
    )
    kms_key_id: (
        Annotated[
            str,
            Text(
                "write the OCID of a Vault key, which starts with ocid1.key.",
                r"^ocid1\.key\.[-a-z0-9]*\.[-a-z0-9]*\.[-a-zA-Z0-9._]+$",
                max_length=255,
            ),
        ]
        | None
    ) = Field(
        None,
        description="OCID of the Vault key that encrypts the bucket. Default: a key that Oracle manages.",
    )
    replication: OCIReplication | None = Field(None, description="Copy every object to another region.")
    auth: OCIAuth = Field(OCIAuth(), description="Who the operator and the agents are to OCI.")

    _namespace_is_fixed = fixed_at_creation("namespace", "namespace", "create another store")
    _region_is_fixed = fixed_at_creation("region", "region", "create another store for another region")
    _bucket_is_fixed = fixed_at_creation("bucket_name", "bucketName", "create another store for another bucket")
    _prefix_is_fixed = fixed_at_creation("prefix", "prefix", "create another store for another prefix")
