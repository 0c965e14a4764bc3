"""What is done about tables that are not what they should be, from observed states; no server."""

from dataclasses import replace
from typing import Any

import pytest

from locus_memory.backends.postgresql_objects import DatabaseObject
from locus_operator.backends.postgresql_definitions import Definitions, FoundColumn
from locus_operator.backends.postgresql_observe import Observed
from locus_operator.backends.postgresql_repairs import Damage, repairs
from tests.unit.operator.test_postgresql_plan import TABLES, ready, target

ITEMS = {item.name: item for item in TABLES.objects}


def found(item: DatabaseObject, *, filled: bool = False, **changed: dict[str, Any]) -> list[str]:
    """What is said of a table whose columns are changed; a change of None drops the column."""
    observed = ready()
    if filled:
        observed = replace(observed, filled=frozenset({item.name}))
    definitions = observed.definitions
    columns = [
        replace(each, **changed.get(each.name, {}))
        for each in definitions.columns[item.name]
        if changed.get(each.name, {}) is not None
    ]
    changed_columns = {**definitions.columns, item.name: tuple(columns)}
    return said(item, replace(observed, definitions=replace(definitions, columns=changed_columns)))


def said(item: DatabaseObject, observed: Observed) -> list[str]:
    return [
        f"damage: {each.what}" if isinstance(each, Damage) else str(each)
        for each in repairs(item, observed, target(observed))
    ]


@pytest.mark.parametrize("item", TABLES.objects, ids=lambda item: item.name)
def test_what_is_as_it_should_be_is_left_alone(item: DatabaseObject) -> None:
    assert said(item, ready()) == []


@pytest.mark.parametrize(
    ("type_", "repaired"),
    [
        ("integer", True),
        ("smallint", True),
        ("numeric", False),
        ("text", False),
        ("double precision", False),
    ],
)
def test_a_number_is_widened_and_never_narrowed(type_: str, repaired: bool) -> None:
    [only] = found(ITEMS["locus_threads"], last_sequence={"type": type_})
    assert only.startswith("alter table" if repaired else "damage: column last_sequence")


@pytest.mark.parametrize("type_", ["character varying(8)", 'text COLLATE "de_DE"', "text"])
def test_text_gets_its_length_and_order_back(type_: str) -> None:
    assert found(ITEMS["locus_threads"], thread_id={"type": type_}) == [
        f"alter table locus_threads: column thread_id is {type_}"
    ]


def test_padded_text_is_a_damage() -> None:
    [only] = found(ITEMS["locus_threads"], thread_id={"type": "character(8)"})
    assert only.startswith("damage")


def test_a_lost_column_is_made_again_only_where_nothing_was_in_it() -> None:
    item, lost = ITEMS["locus_checkpoints"], {"payload": None}
    assert found(item, **lost) == ["alter table locus_checkpoints: column payload is missing"]  # type: ignore[arg-type]
    [only] = found(item, filled=True, **lost)  # type: ignore[arg-type]
    assert only == "damage: table locus_checkpoints has lost its column payload, and holds rows"


def test_a_generated_column_is_a_damage() -> None:
    [only] = found(ITEMS["locus_threads"], last_sequence={"generated": True})
    assert "bigint, generated" in only


@pytest.mark.parametrize(
    ("nullable", "default", "stops_saves"), [(True, None, False), (False, "1", False), (False, None, True)]
)
def test_a_column_of_somebody_else_matters_only_when_it_stops_saves(
    nullable: bool,
    default: str | None,
    stops_saves: bool,
) -> None:
    observed, item = ready(), ITEMS["locus_threads"]
    extra = FoundColumn(item.name, "extra", "integer", nullable, default, "", generated=False)
    columns = {**observed.definitions.columns, item.name: (*observed.definitions.columns[item.name], extra)}
    changed = replace(observed, definitions=replace(observed.definitions, columns=columns))
    assert bool(said(item, changed)) == stops_saves


def test_a_second_constraint_of_the_same_definition_goes() -> None:
    observed, item = ready(), ITEMS["locus_parts"]
    there = observed.definitions.constraints[item.name]
    twice = (*there, replace(there[-1], name="again"))
    definitions = Definitions(
        observed.definitions.columns,
        {**observed.definitions.constraints, item.name: twice},
        observed.definitions.relations,
    )
    [only] = said(item, replace(observed, definitions=definitions))
    assert "constraint again is not ours" in only
