"""The part of `metadata` that the operator reads."""

from datetime import datetime
from typing import Generic, TypeVar

from pydantic import Field

from locus_operator.api.rules import ApiModel

NameT = TypeVar("NameT", bound=str)


class ObjectMeta(ApiModel, Generic[NameT]):
    """Who an object is. `uid` and what follows are empty for an object that never was on an API server."""

    name: NameT
    namespace: str | None = None
    uid: str | None = None
    generation: int = 0
    resource_version: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    finalizers: tuple[str, ...] = ()
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
