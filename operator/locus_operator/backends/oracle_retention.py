"""Deletes from the tables of a store on Oracle what its retention no longer allows, beside agents that write.

Which checkpoints are to go is looked for without locks; then their threads' rows are locked, as every save does first,
and each is deleted if it is still to go. A batch is one transaction.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Any, Final

from locus_memory.backends.oracle_schema import Names
from locus_memory.backends.oracle_statements import Statements
from locus_operator.api.store import Retention
from locus_operator.backends.oracle_connect import Administrator

_BATCH: Final = 500
"""Checkpoints of one transaction: saves to their threads wait for its end."""

_TOO_OLD: Final = "c.created_at < :before"
_TOO_MANY: Final = """(SELECT COUNT(*) FROM {checkpoints} n
            WHERE n.thread_key = c.thread_key AND n.write_order > c.write_order) >= :kept"""

TEXTS: Final = {
    "now": "SELECT SYS_EXTRACT_UTC(SYSTIMESTAMP) FROM dual",
    "old": """SELECT c.thread_key, c.checkpoint_id FROM {checkpoints} c WHERE c.created_at < :before
        ORDER BY c.created_at FETCH FIRST :limit ROWS ONLY""",
    "surplus": """SELECT r.thread_key, r.checkpoint_id FROM (
            SELECT c.thread_key, c.checkpoint_id,
                ROW_NUMBER() OVER (PARTITION BY c.thread_key ORDER BY c.write_order DESC) AS place
            FROM {checkpoints} c) r
        WHERE r.place > :kept FETCH FIRST :limit ROWS ONLY""",
    "delete_writes": """DELETE FROM {writes} w WHERE w.thread_key = :thread_key AND w.checkpoint_id = :checkpoint_id
        AND EXISTS (SELECT 1 FROM {checkpoints} c WHERE c.thread_key = w.thread_key
            AND c.checkpoint_id = w.checkpoint_id AND {due})""",
    "delete": """DELETE FROM {checkpoints} c
        WHERE c.thread_key = :thread_key AND c.checkpoint_id = :checkpoint_id AND {due}""",
    # The words of a state that is gone; of another one that is the latest now the next search makes new ones.
    "forget_search": """DELETE FROM {search} s WHERE s.thread_key = :thread_key AND NOT EXISTS (
            SELECT 1 FROM {checkpoints} c WHERE c.thread_key = s.thread_key AND c.write_order = s.write_order)""",
}


def statements(names: Names) -> dict[str, str]:
    """Return the statements by name; those that delete end in the rule that they follow."""
    fragments = names.fragments()
    found = {name: TEXTS[name].format(**fragments) for name in ("now", "old", "surplus", "forget_search")}
    for rule, due in (("old", _TOO_OLD), ("surplus", _TOO_MANY.format(**fragments))):
        for name in ("delete_writes", "delete"):
            found[f"{name} {rule}"] = TEXTS[name].format(**fragments, due=due)
    library = Statements(names)
    for name in ("lock_threads", "delete_unused_parts", "delete_if_empty", "repair_latest"):
        found[name] = library[name]
    return found


async def enforce(admin: Administrator, names: Names, retention: Retention, *, seconds: float) -> int:
    """Delete what is to go, until nothing is left or the time is up; return the number of checkpoints.

    Args:
        admin: Runs the statements.
        names: The tables.
        retention: The rules.
        seconds: How long to go on; the batch that is under way is finished.

    Raises:
        ProvisioningError: The database is away, or refuses.
    """
    end, texts, deleted = time.monotonic() + seconds, statements(names), 0
    with admin.explaining("delete checkpoints that retention no longer allows"):
        for rule, binds in (await _rules(admin, texts, retention)).items():
            while time.monotonic() < end:
                found = await admin.query(texts[rule], **binds, limit=_BATCH)
                deleted += await _delete(admin, texts, rule, found, binds) if found else 0
                if len(found) < _BATCH:
                    break
    return deleted


async def _rules(admin: Administrator, texts: dict[str, str], retention: Retention) -> dict[str, dict[str, Any]]:
    rules: dict[str, dict[str, Any]] = {}
    if retention.max_age is not None:
        # The database's clock, which dates the checkpoints.
        ((now,),) = await admin.query(texts["now"])
        assert isinstance(now, datetime)  # noqa: S101 - the type of the column
        rules["old"] = {"before": now.replace(tzinfo=None) - timedelta(seconds=retention.max_age.seconds)}
    if retention.max_checkpoints_per_thread is not None:
        rules["surplus"] = {"kept": retention.max_checkpoints_per_thread}
    return rules


async def _delete(
    admin: Administrator, texts: dict[str, str], rule: str, found: list[Any], binds: dict[str, Any]
) -> int:
    # In one order, or two who lock threads could wait for each other for ever.
    threads = [{"thread_key": key} for key in sorted({thread_key for thread_key, _ in found})]
    due = [{"thread_key": thread, "checkpoint_id": checkpoint} | binds for thread, checkpoint in found]
    await admin.change(texts["lock_threads"], threads)
    await admin.change(texts[f"delete_writes {rule}"], due)
    deleted = await admin.change(texts[f"delete {rule}"], due)
    for name in ("delete_unused_parts", "delete_if_empty", "repair_latest", "forget_search"):
        await admin.change(texts[name], threads)
    await admin.commit()
    return deleted
