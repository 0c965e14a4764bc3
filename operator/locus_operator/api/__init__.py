"""Typed models of the custom resources; the CRDs in `crds/` are generated from them."""

from locus_operator.api.backends import Backend, BackendMember
from locus_operator.api.duration import Duration
from locus_operator.api.status import CheckpointStoreClassStatus, CheckpointStoreStatus
from locus_operator.api.store import CheckpointStore, CheckpointStoreSpec
from locus_operator.api.store_class import CheckpointStoreClass, CheckpointStoreClassSpec
from locus_operator.api.validation import (
    InvalidSpecError,
    check_class_update,
    check_update,
    parse_store,
    parse_store_class,
)

__all__ = [
    "Backend",
    "BackendMember",
    "CheckpointStore",
    "CheckpointStoreClass",
    "CheckpointStoreClassSpec",
    "CheckpointStoreClassStatus",
    "CheckpointStoreSpec",
    "CheckpointStoreStatus",
    "Duration",
    "InvalidSpecError",
    "check_class_update",
    "check_update",
    "parse_store",
    "parse_store_class",
]
