"""The manifest of a thread on OpenSearch, as far as it names parts and pending writes."""

import json

from hypothesis import given
from hypothesis import strategies as st

from locus_memory.backends.opensearch_layout import Attachment, index_body, writes_of
from locus_memory.backends.opensearch_manifest import Batch, Entry, Manifest, Part, Position, batches
from locus_memory.storage import PendingWrite

NAMES = st.text(max_size=4)
PARTS = [Part(name, f"document of {name}", 1) for name in "abcd"]
ENTRIES = st.lists(
    st.builds(
        Entry, NAMES, st.uuids().map(str), st.integers(), st.integers(0), st.lists(st.sampled_from(PARTS)).map(tuple)
    ),
    min_size=1,
    max_size=4,
).map(tuple)
POSITIONS = st.lists(st.tuples(NAMES, st.integers(-3, 3)), min_size=1, max_size=4, unique=True).map(tuple)
BATCHES = st.lists(st.builds(Batch, st.uuids().map(str), st.integers(0), POSITIONS), min_size=1, max_size=3).map(tuple)
MANIFESTS = st.builds(
    Manifest,
    st.dictionaries(NAMES, ENTRIES, max_size=3),
    st.dictionaries(st.tuples(NAMES, NAMES), BATCHES, max_size=3),
)


def entry(checkpoint_id: str, *names: str) -> Entry:
    parts = tuple(part for part in PARTS if part.name in names)
    return Entry(checkpoint_id, f"document of checkpoint {checkpoint_id}", 1, 1, parts)


def batch(document: str, *positions: Position) -> Batch:
    return Batch(document, 1, positions)


@given(MANIFESTS)
def test_a_manifest_with_parts_and_writes_comes_back_equal(original: Manifest) -> None:
    assert Manifest.load(original.dump()) == original


@given(MANIFESTS)
def test_over_other_documents_it_says_the_same_and_names_as_many(original: Manifest) -> None:
    names = {document: f"new {document}" for document in original.sizes()}
    renamed = original.renamed(names)
    assert list(renamed.sizes()) == list(names.values())
    assert original.dropped_by(renamed) == list(names)
    assert renamed.renamed({new: old for old, new in names.items()}) == original


def test_a_part_is_written_into_a_manifest_once_however_many_checkpoints_need_it() -> None:
    made = Manifest()
    for number in range(50):
        made = made.with_latest(entry(str(number), "a", "b"))
    assert made.dump().count("document of a") == 1


def test_a_thread_without_parts_and_writes_pays_nothing_for_them() -> None:
    assert Manifest().with_latest(entry("c")).dump() == '{"checkpoints":{"":[["c","document of checkpoint c",1,1]]}}'


def test_a_part_goes_with_the_last_entry_that_names_it() -> None:
    both = Manifest().with_latest(entry("1", "a", "b")).with_latest(entry("2", "b"))
    assert both.dropped_by(both.without_checkpoint("1")) == ["document of checkpoint 1", "document of a"]
    assert both.dropped_by(both.without_checkpoint("2")) == ["document of checkpoint 2"]
    # In another namespace, the same name is another part.
    other = both.with_latest(entry("3", "c"), "sub")
    assert set(other.parts()) == {"a", "b"}
    assert set(other.parts("sub")) == {"c"}


def test_writes_go_with_their_checkpoint_and_all_go_with_the_last_one() -> None:
    made = Manifest().with_latest(entry("1")).with_latest(entry("2"))
    for checkpoint_id in ("1", "2", "never"):
        made = made.with_writes(("", checkpoint_id), batch(f"writes {checkpoint_id}", ("task", 0)))
    assert made.without_checkpoint("1").writes.keys() == {("", "2"), ("", "never")}
    assert made.without_checkpoint("never").writes.keys() == {("", "1"), ("", "2")}
    assert made.without_checkpoint("1").without_checkpoint("2").is_empty
    # A checkpoint that is saved again keeps them.
    assert made.with_latest(entry("1")).writes == made.writes


def test_the_first_write_at_a_position_stays_but_a_special_one_is_replaced() -> None:
    first, second = batch("first", ("task", 0), ("task", -1)), batch("second", ("task", 0), ("task", 1), ("task", -1))
    made = Manifest().with_writes(("", "c"), first).with_writes(("", "c"), second)
    assert made.writes["", "c"] == (batch("first", ("task", 0)), batch("second", ("task", 1), ("task", -1)))
    assert made.with_writes(("", "c"), batch("third", ("task", 1))) is made
    third = made.with_writes(("", "c"), batch("third", ("task", 1), ("task", -1)))
    assert third.writes["", "c"][1:] == (batch("second", ("task", 1)), batch("third", ("task", -1)))
    fourth = third.with_writes(("", "c"), batch("fourth", ("task", -1)))
    assert third.dropped_by(fourth) == ["third"]


def test_documents_are_divided_by_their_bytes_and_their_number() -> None:
    large = 9 * 1024 * 1024
    assert list(batches({"a": large, "b": large, "c": 1, "d": 2 * large, "e": 1}, 500)) == [
        ["a"],
        ["b", "c"],
        ["d"],
        ["e"],
    ]
    assert list(batches(dict.fromkeys("abcde", 0), 2)) == [["a", "b"], ["c", "d"], ["e"]]
    assert list(batches({}, 2)) == []


@given(st.lists(st.builds(PendingWrite, NAMES, st.integers(), NAMES, st.binary(max_size=9), NAMES), max_size=4))
def test_pending_writes_come_back_from_their_document(writes: list[PendingWrite]) -> None:
    document = json.loads(b"".join(Attachment.of_writes("t", writes).document("d")))
    assert list(writes_of(document)) == writes
    assert document.keys() <= index_body()["mappings"]["properties"].keys()
