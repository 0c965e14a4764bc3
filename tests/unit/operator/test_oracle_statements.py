"""The statements of the Oracle provisioner: reviewed as they are, and none that Oracle 19c would refuse."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from locus_memory.backends.oracle_schema import Names
from locus_operator.backends import oracle_actions as actions
from locus_operator.backends.oracle_actions import Statements, Target
from locus_operator.backends.oracle_names import Layout
from locus_operator.backends.oracle_observe import QUERIES, QUERIES_OF_USERS, Grant
from locus_operator.backends.oracle_retention import statements as retention_statements
from locus_operator.names import RoleNames
from locus_operator.provisioner import Owner
from tests.emulators.oracle_lint import check

GOLDEN = Path(__file__).with_name("oracle_statements.sql")
OWNER, LOGIN = "LOCUS_TEAM_BOT", "LOCUS_TEAM_BOT_A"


def target() -> Target:
    layout = Layout(RoleNames.of("team", "bot"), OWNER, "locus_checkpoints", memory=True, dimension=3)
    return Target(layout, Owner("o'brien", "uid-1", "team", "bot"), "DATA", "10G")


def planned() -> Iterator[Statements]:
    here = target()
    table = here.layout.known["LOCUS_CHECKPOINTS"]
    yield actions.create_user(here, OWNER)
    yield actions.create_user(here, LOGIN)
    yield actions.claim_user(here, LOGIN)
    yield actions.release_claim(here, OWNER)
    yield actions.shut_owner(OWNER, "differs")
    yield actions.lock_login(LOGIN, "differs")
    yield actions.give_space(here, "differs")
    yield actions.take_space(LOGIN, "DATA")
    yield actions.create_object(here, table, "missing")
    yield actions.create_object(here, here.layout.known["LOCUS_CHECKPOINTS_ORDER"], "missing again", 42)
    yield actions.create_object(here, here.layout.known["LOCUS_CHECKPOINTS_ITEMS_VECTORS"], "missing")
    yield actions.drop_table(here, "LOCUS_CHECKPOINTS", "it belongs to another one", rows=False)
    yield actions.grant_object(here, LOGIN, table, {"SELECT", "INSERT"})
    yield actions.revoke_object(Grant(LOGIN, "HR", "EMPLOYEES", "SELECT"))
    yield actions.revoke_object(Grant("PUBLIC", OWNER, "LOCUS_CHECKPOINTS", "SELECT"))
    yield actions.grant_session(LOGIN)
    yield actions.revoke_system(LOGIN, "CREATE TABLE")
    yield actions.revoke_role(LOGIN, "RESOURCE")


def written() -> dict[str, str]:
    """All statements, by what they are for."""
    here = target()
    found = {f"query {name}": text for name, text in (QUERIES | QUERIES_OF_USERS).items()}
    found |= {
        "query version": here.layout.version_query("LOCUS_CHECKPOINTS_SCHEMA"),
        "query any row": here.layout.any_row_query("LOCUS_CHECKPOINTS"),
        "query highest number": here.layout.highest_query("LOCUS_CHECKPOINTS"),
        "query embeddings": here.layout.vectors_query,
        "query sessions": actions.SESSIONS,
    }
    for action in planned():
        found |= {f"{action}, {number}": text for number, text in enumerate(action.statements, 1)}
    found |= {
        "set password": actions.set_password(LOGIN, "Secret-Secret-1"),
        "unlock": actions.unlock(LOGIN),
        "drop": actions.drop(LOGIN),
        "end session": actions.end_session(12, 3456, 1),
    }
    names = Names("locus_checkpoints", OWNER)
    return found | {f"retention {name}": text for name, text in retention_statements(names).items()}


def as_file() -> str:
    """The text of the reviewed file."""
    head = "-- Every statement of the Oracle provisioner, reviewed for Oracle 19c. After a change, review it and run\n"
    head += "-- python -m tests.unit.operator.test_oracle_statements\n"
    return head + "".join(f"\n-- {name}\n{text}\n" for name, text in written().items())


def test_the_statements_are_those_that_were_reviewed() -> None:
    assert as_file() == GOLDEN.read_text(), "review the change for Oracle 19c, then write the file anew: see its head"


@pytest.mark.parametrize("name", written())
def test_oracle_would_take_it(name: str) -> None:
    check(written()[name])


if __name__ == "__main__":
    sys.exit(GOLDEN.write_text(as_file()) == 0)
