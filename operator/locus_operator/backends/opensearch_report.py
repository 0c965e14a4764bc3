"""What people are told of a store on OpenSearch that is as desired: pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from locus_operator.api.store import CheckpointStoreSpec
from locus_operator.backends.opensearch_desired import Target
from locus_operator.backends.opensearch_observe import Index, Observed
from locus_operator.provisioner import Report

_NO_SECURITY: Final = (
    "the cluster has no security plugin: the binding holds no login, and whoever reaches the cluster reads and writes "
    "all stores on it"
)
_NO_ISM: Final = "The cluster does not manage indexes (no ISM plugin), so the store has no policy, and needs none"
_BLOCKS: Final = ("index.blocks.write", "index.blocks.read_only", "index.blocks.read_only_allow_delete")


def report_of(observed: Observed | None, target: Target, spec: CheckpointStoreSpec) -> Report:
    """Say which plugins are missing, what gives trouble, and how retention is enforced."""
    if observed is None:
        return Report()
    notes = [] if observed.ism else [_NO_ISM]
    if observed.index is not None:
        notes += _notes(observed.index, target)
    return Report(
        note=". ".join(notes),
        no_login=_NO_SECURITY,
        warnings=tuple(_warnings(observed, target)),
        retention=_retention(spec),
    )


def _notes(index: Index, target: Target) -> Iterator[str]:
    if index.health == "yellow":
        yield (
            f"Index {target.index} is yellow: copies of its shards have no node, so what is lost with one node may be "
            "lost for good"
        )
    shards = index.settings.get("index.number_of_shards")
    if shards != str(target.shards):
        yield f"Index {target.index} has {shards} shards, which stay as they are; spec.shards says {target.shards}"


def _warnings(observed: Observed, target: Target) -> Iterator[str]:
    others = sorted(set(observed.login_roles or ()) - {target.names.base})
    if others:
        yield (
            f"User {target.names.logins[0]} has the roles {', '.join(others)} as well, by mappings that are not the "
            "operator's: it can do what those permit"
        )
    attached = observed.attached
    if attached is not None and attached.name != target.names.base and not attached.harmful:
        yield f"Index {target.index} is managed by the ISM policy {attached.name}, which is not the operator's"
    index = observed.index
    blocks = [name for name in _BLOCKS if index is not None and index.settings.get(name) == "true"]
    if blocks:
        yield (
            f"Index {target.index} takes no writes: {', '.join(blocks)} is set. Look for a full disk, on which the "
            "cluster sets it by itself; then set it to null"
        )


def _retention(spec: CheckpointStoreSpec) -> dict[str, str]:
    found = {}
    if spec.retention.max_age is not None:
        found["maxAge"] = (
            f"the sweep deletes checkpoints older than {spec.retention.max_age}, one by one: an ISM policy could "
            "delete the whole index only"
        )
    if spec.retention.max_checkpoints_per_thread is not None:
        count = spec.retention.max_checkpoints_per_thread
        found["maxCheckpointsPerThread"] = f"the sweep keeps the newest {count} checkpoints of each thread"
    return found
