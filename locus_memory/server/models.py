"""Bodies of requests and answers: what is checked, and what the OpenAPI document says."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

from locus_memory.wire import MAX_LIMIT


def _whole(value: object) -> object:
    # JSON has one kind of number: 1.0 is a whole one. Text and truth values are none.
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _text(value: object) -> object:
    # pydantic would take a number for seconds since 1970.
    if not isinstance(value, str):
        raise ValueError("write a time with its zone, as in RFC 3339")
    return value


Id = Annotated[str, Field(min_length=1, description="Any text of at most 1,024 bytes in UTF-8.")]
Namespace = Annotated[str, Field(description="Sub-graph within the thread.")]
Limit = Annotated[int, BeforeValidator(_whole), Field(strict=True, ge=1, le=MAX_LIMIT)]
Size = Annotated[int, Field(strict=True, ge=0)]
Time = Annotated[AwareDatetime, BeforeValidator(_text)]
Metadata = Annotated[
    dict[str, JsonValue], Field(description="JSON object of at most 65,536 bytes and 64 levels of nesting.")
]


class Arguments(BaseModel):
    """What all requests share: no member is taken that would then be ignored."""

    model_config = ConfigDict(extra="forbid")


class Address(Arguments):
    """A checkpoint; the latest where `checkpoint_id` is null."""

    thread_id: Id
    checkpoint_id: Id | None = None
    namespace: Namespace = ""


class ExactAddress(Arguments):
    """A checkpoint by its id."""

    thread_id: Id
    checkpoint_id: Id
    namespace: Namespace = ""


class Part(Arguments):
    """Bytes that checkpoints of a thread and namespace share under a name."""

    name: str
    size: Size


class Write(Arguments):
    """A pending write; its payload follows the head."""

    task_id: Id
    index: Annotated[int, Field(strict=True, ge=-MAX_LIMIT, le=MAX_LIMIT)]
    channel: str
    task_path: str
    size: Size


class WritesHead(ExactAddress):
    """What stands before the payloads of pending writes."""

    writes: list[Write] = Field(min_length=1)


class CompleteListing(Arguments):
    """Checkpoints by their ids; the latest alone where they are null."""

    thread_id: Id
    checkpoint_ids: list[Id] | None = None
    namespace: Namespace = ""


class CheckpointHead(ExactAddress):
    """What stands before the payload in a frame that is written.

    `expected_checkpoint_id`, where it is there at all, makes it a compare-and-set; null means "no checkpoint yet".
    The bytes of `parts`, those that are new, stand between head and payload; `part_names` names all that it needs.
    """

    parent_id: Id | None = None
    searchable: bool = True
    part_names: list[str] = Field(default_factory=list)
    parts: list[Part] = Field(default_factory=list)
    created_at: Time | None = None
    metadata: Metadata = Field(default_factory=dict)
    expected_checkpoint_id: Id | None = None


class ThreadArguments(Arguments):
    """A thread, with all its namespaces."""

    thread_id: Id


class CheckpointListing(Arguments):
    """The checkpoints of a thread, newest first."""

    thread_id: Id
    limit: Limit
    namespace: Namespace = ""


class Copy(Arguments):
    """A thread to be copied to one that does not exist."""

    source_thread_id: Id
    dest_thread_id: Id


class ThreadListing(Arguments):
    """Thread ids in the order of their UTF-8 bytes; `*` in the pattern stands for any run of characters."""

    limit: Limit
    pattern: str = "*"


class ThreadPage(Arguments):
    """The next thread ids in the order of their UTF-8 bytes, behind one; the first where that is null."""

    thread_id: Id | None = None
    limit: Limit


class LatestListing(Arguments):
    """The latest checkpoint of each thread."""

    limit: Limit


class MetadataQuery(Arguments):
    """Checkpoints whose field equals the value, or is a list that holds it."""

    key: str
    value: JsonValue
    limit: Limit


class SearchQuery(Arguments):
    """Threads whose latest checkpoint holds all terms: words, case folded."""

    terms: list[str] = Field(min_length=1)
    limit: Limit


class Vacuum(Arguments):
    """Delete what was written before a time."""

    before: Time


class Summary(BaseModel):
    """A stored checkpoint without its payload."""

    thread_id: str
    checkpoint_id: str
    metadata: dict[str, Any]
    created_at: datetime
    namespace: str
    parent_id: str | None


class Hit(Summary):
    """A summary with its score; higher is better."""

    score: float


class Summaries(BaseModel):
    """Summaries."""

    checkpoints: list[Summary]


class Hits(BaseModel):
    """What a search found, best first."""

    hits: list[Hit]


class Threads(BaseModel):
    """Thread ids."""

    threads: list[str]


class Namespaces(BaseModel):
    """Namespaces."""

    namespaces: list[str]


class Deleted(BaseModel):
    """Whether there was something to delete."""

    deleted: bool


class DeletedCount(BaseModel):
    """How many checkpoints were deleted."""

    deleted: int


class Copied(BaseModel):
    """Whether there was something to copy."""

    copied: bool


class ServiceLimits(BaseModel):
    """Bounds of the service."""

    max_body_bytes: int


class Capabilities(BaseModel):
    """What the service can do."""

    protocols: list[int]
    server: str
    capabilities: dict[str, bool]
    history: bool
    transfers: bool
    deletes_single_checkpoints: bool
    limits: ServiceLimits


class Health(BaseModel):
    """`ok`."""

    status: str


class SavedState(BaseModel):
    """A state to be saved; members beside these are left out, as other clients send them."""

    state: dict[str, JsonValue]
    checkpoint_id: Id | None = None
    metadata: Metadata | None = None
    expected_checkpoint_id: Id | None = None


class Saved(BaseModel):
    """Where a state was saved."""

    thread_id: str
    checkpoint_id: str


class Listed(BaseModel):
    """A checkpoint of a listing."""

    checkpoint_id: str
    created_at: datetime
    metadata: dict[str, Any]


class Listing(BaseModel):
    """Checkpoints, newest first."""

    checkpoints: list[Listed]


class LoadedState(Listed):
    """A state, with what is known of its checkpoint."""

    thread_id: str
    state: Any


class Problem(BaseModel):
    """An error (RFC 9457); programs read `code`."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    code: str
    detail: str
