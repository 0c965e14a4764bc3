"""Names that the operator shares with Kubernetes users: kinds, labels, annotations, conditions, reasons.

Every name that appears in somebody's YAML, dashboard or alert stands here and nowhere else.
"""

from enum import StrEnum
from typing import Final

GROUP: Final = "memory.locus.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = "memory.locus.dev/v1alpha1"

STORE_KIND: Final = "CheckpointStore"
STORE_SINGULAR: Final = "checkpointstore"
STORE_PLURAL: Final = "checkpointstores"
STORE_SHORT_NAME: Final = "cps"

CLASS_KIND: Final = "CheckpointStoreClass"
CLASS_SINGULAR: Final = "checkpointstoreclass"
CLASS_PLURAL: Final = "checkpointstoreclasses"
CLASS_SHORT_NAME: Final = "cpsclass"

CATEGORY: Final = "locus"
"""Category of both kinds: `kubectl get locus` lists them."""

LABEL_STORE: Final = f"{GROUP}/checkpoint-store"
"""Pod label with the name of one store: it makes the API server call the webhook."""
ANNOTATION_STORE: Final = LABEL_STORE
"""Pod annotation of the same key: several store names, comma-separated, the first one the default."""
ANNOTATION_BINDING_SECRET: Final = f"{GROUP}/binding-secret"
"""Pod annotation that names the Secret of a store whose spec sets `bindingSecretName`."""
ANNOTATION_INJECTED: Final = f"{GROUP}/injected"
"""Pod annotation that the webhook leaves: the stores that it mounted, comma-separated."""
LABEL_INJECTION: Final = f"{GROUP}/injection"
"""Namespace label that allows injection by `spec.pods.selector`."""
INJECTION_ENABLED: Final = "enabled"
"""The value of `LABEL_INJECTION` that allows it."""

ANNOTATION_ADOPT: Final = f"{GROUP}/adopt"
"""Store annotation, "true": take over objects that exist on the backend and that no living store owns."""
ANNOTATION_ABANDON: Final = f"{GROUP}/abandon"
"""Store annotation, "true": let a blocked deletion finish and leave the backend as it is."""
ANNOTATION_ROTATE: Final = f"{GROUP}/rotate"
"""Store annotation: each new value rotates the application's login once."""
ANNOTATION_DEFAULT_CLASS: Final = f"{GROUP}/is-default-class"
"""Class annotation, "true": the class that the platform team recommends."""

FINALIZER: Final = f"{GROUP}/finalizer"
KOPF_PREFIX: Final = f"kopf.{GROUP}"
"""Prefix of the annotations that kopf keeps for itself, so that two kopf operators never meet."""

LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
MANAGER: Final = "locus-operator"
"""The value of `LABEL_MANAGED_BY` on what the operator made."""
ANNOTATION_CLAIM: Final = f"{GROUP}/claim"
"""On a PersistentVolumeClaim: whose it is, as JSON."""
LABEL_STORE_UID: Final = f"{GROUP}/store-uid"
"""On a PersistentVolumeClaim: UID of the store whose it is."""

PROVIDER: Final = "locus-memory"
"""The `provider` entry of every binding."""
BINDING_TYPE_PREFIX: Final = "servicebinding.io/"
"""A binding Secret has this prefix and the backend's type as its Secret type."""
BINDING_SUFFIX: Final = "-binding"
"""A store's binding Secret is called like the store with this suffix, unless the spec names it."""
LABEL_PROVISIONED_SERVICE: Final = "servicebinding.io/provisioned-service"
"""CRD label, "true": objects of this kind are Provisioned Services of the Service Binding specification."""


class ConditionType(StrEnum):
    """Types in `status.conditions`."""

    READY = "Ready"
    PROVISIONED = "Provisioned"
    CREDENTIALS_READY = "CredentialsReady"
    RETENTION_ENFORCED = "RetentionEnforced"
    DELETION_BLOCKED = "DeletionBlocked"


class ConditionReason(StrEnum):
    """Reasons of conditions; the `Reason` column shows the one of `Ready`."""

    READY = "Ready"
    PROVISIONED = "Provisioned"
    CREDENTIALS_ISSUED = "CredentialsIssued"
    RETENTION_APPLIED = "RetentionApplied"
    NO_RETENTION = "NoRetention"
    PROGRESSING = "Progressing"
    SUSPENDED = "Suspended"
    DELETING = "Deleting"
    # The spec is wrong: nothing is tried again before it changes.
    INVALID_SPEC = "InvalidSpec"
    NOT_SUPPORTED = "NotSupported"
    LIMIT_EXCEEDED = "LimitExceeded"
    NAMESPACE_NOT_ALLOWED = "NamespaceNotAllowed"
    # Something that the spec names is not there, or not as it should be.
    CLASS_NOT_FOUND = "ClassNotFound"
    CLASS_NOT_READY = "ClassNotReady"
    CLASS_IN_USE = "ClassInUse"
    SECRET_NOT_FOUND = "SecretNotFound"  # noqa: S105 - the reason's name, no secret
    SECRET_INVALID = "SecretInvalid"  # noqa: S105 - the reason's name, no secret
    VOLUME_CLAIM_NOT_FOUND = "VolumeClaimNotFound"
    # The backend refuses.
    AUTHENTICATION_FAILED = "AuthenticationFailed"
    MISSING_PRIVILEGES = "MissingPrivileges"
    CONFLICT = "Conflict"
    BACKEND_REFUSED = "BackendRefused"
    # The backend is away.
    BACKEND_UNAVAILABLE = "BackendUnavailable"
    INTERNAL_ERROR = "InternalError"


class EventReason(StrEnum):
    """Reasons of the Kubernetes Events that the operator writes."""

    PROVISIONED = "Provisioned"
    DRIFT_CORRECTED = "DriftCorrected"
    CREDENTIALS_ROTATED = "CredentialsRotated"
    RETENTION_APPLIED = "RetentionApplied"
    BACKEND_WARNING = "BackendWarning"
    PROVISIONING_FAILED = "ProvisioningFailed"
    INVALID_SPEC = "InvalidSpec"
    CONFLICT = "Conflict"
    DELETION_BLOCKED = "DeletionBlocked"
    RELEASED = "Released"
    ABANDONED = "Abandoned"
    NOT_INJECTED = "NotInjected"
