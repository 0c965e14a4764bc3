"""What people are told of a store in OCI. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from locus_operator.backends.oci_bucket_observe import Observed
from locus_operator.backends.oci_bucket_plan import REPLICATION, Target, missing_statements
from locus_operator.backends.oci_bucket_rules import dangers, expiry_days, is_exact
from locus_operator.provisioner import Report


def report(observed: Observed, target: Target, *, policy_written: bool, agents: str, damaged: Sequence[str]) -> Report:
    """Say how agents log in, which statements are missing, and what retention does.

    Args:
        observed: What was there before this run.
        target: What is desired.
        policy_written: This run has written the store's policy.
        agents: The agents' login, for messages.
        damaged: Threads that could not be swept.
    """
    statements = () if policy_written else missing_statements(observed, target)
    return Report(
        note=_note(observed, target, bool(statements)),
        no_login=f"agents sign as {agents}; the operator issues no login of its own",
        warnings=(*_warnings(observed, target), *damaged),
        iam_statements=statements,
        retention=_retention(target),
    )


def _note(observed: Observed, target: Target, missing: bool) -> str:
    if not missing:
        return ""
    seen = "" if observed.policies is not None else "; it may not read policies, so they may be there already"
    return (
        f"Agents get in when an administrator of the compartment has added status.iamStatements: {target.who} may not "
        f"write policies there (Allow <operator> to manage policies in {target.place.scope}){seen}"
    )


def _warnings(observed: Observed, target: Target) -> Iterator[str]:
    if target.agents.gap:
        yield (
            f"status.iamStatements have a gap, and the operator adds none with a gap: write "
            f"spec.backend.ociBucket.{target.agents.gap}"
        )
    yield from dangers(observed.lifecycle.rules, target.retention, target.place.prefix)
    if target.own_bucket:
        for each in observed.replications:
            if each.name != REPLICATION:
                yield f"replication policy {each.name!r}, not the operator's, copies the bucket to {each.bucket!r}"
        return
    backend = target.backend
    unused = {
        "versioning": backend.versioning.value == "Enabled",
        "kmsKeyId": backend.kms_key_id is not None,
        "storageTier": target.infrequent_access,
        "replication": backend.replication is not None,
    }
    if named := [name for name, is_set in unused.items() if is_set]:
        yield (
            f"spec.backend.ociBucket.{', '.join(named)}: not acted on, since stores share the bucket and its settings "
            "are its owner's"
        )


def _retention(target: Target) -> dict[str, str]:
    retention, days, found = target.retention, expiry_days(target.retention), {}
    if days is not None:
        rule = f"a lifecycle rule deletes checkpoints {days} days after they were written (OCI looks once a day)"
        if not is_exact(retention):
            rule = f"the sweep deletes checkpoints older than {retention.max_age}, and {rule}, should it not run"
        if target.own_bucket and target.backend.versioning.value == "Enabled":
            rule += f"; previous versions of what was replaced or deleted stay for {days} days more"
        found["maxAge"] = rule
    if retention.max_checkpoints_per_thread is not None:
        found["maxCheckpointsPerThread"] = (
            f"the sweep keeps the newest {retention.max_checkpoints_per_thread} checkpoints of each thread"
        )
    if retention.archive_after is not None:
        found["archiveAfter"] = (
            f"a lifecycle rule archives checkpoints {retention.archive_after} after they were written; then they are "
            "restored before they can be loaded, and the thread can be saved to all the while"
        )
    return found
