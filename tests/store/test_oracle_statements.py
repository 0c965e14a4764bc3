"""The statements of the store on Oracle: none that Oracle would refuse, as far as the emulator's review can tell."""

import pytest
from sqlglot import exp

from locus_memory.backends.oracle_schema import Names
from locus_memory.store_backends.oracle_schema import ddl
from locus_memory.store_backends.oracle_statements import Statements
from tests.emulators.oracle_lint import check
from tests.emulators.oracle_sql import parse, translate

COMPOSED = ("get 4", "search 0 0", "search 2 3", "nearest 0", "nearest 2")
LONG = {"payload", "words", "fields"}


def written() -> dict[str, str]:
    """All statements, for a table of another owner."""
    statements = Statements(Names("locus_store", "agents"), vectors=True)
    created = {f"ddl {item.kind} {item.name}": item.statement for item in ddl("locus_store", "agents", 1024)}
    return created | {name: statements[name] for name in (*statements.names(), *COMPOSED)}


@pytest.mark.parametrize("name", sorted(written()))
def test_oracle_would_take_it(name: str) -> None:
    check(written()[name])


@pytest.mark.parametrize("name", sorted(written()))
def test_what_may_be_long_is_bound_to_a_column_of_an_update_and_nothing_else(name: str) -> None:
    found = translate(written()[name])
    assert not LONG & (found.binds - found.to_columns)
    assert not (found.merges and LONG & found.binds)


@pytest.mark.parametrize("name", sorted(name for name, text in written().items() if "MERGE" in text))
def test_a_merge_has_names_only_in_using(name: str) -> None:
    using = parse(written()[name]).args["using"]
    assert {bind.name for bind in using.find_all(exp.Placeholder)} == {"namespace", "item_key"}


def test_only_embeddings_need_a_newer_release_than_19c() -> None:
    plain = [item.statement for item in ddl("locus_store")]
    assert not any("VECTOR" in statement for statement in plain)
    assert "VECTOR" not in Statements(Names("locus_store"), vectors=False)["version"]
    assert [item.name for item in ddl("locus_store", dimension=1024) if "VECTOR(1024, FLOAT32)" in item.statement] == [
        "LOCUS_STORE_VECTORS"
    ]


def test_write_order_holds_between_the_instances_of_a_cluster() -> None:
    [sequence] = [item.statement for item in ddl() if item.kind == "sequence"]
    assert " ORDER" in sequence.rpartition('"')[2]
