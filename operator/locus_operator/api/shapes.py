"""Strings, numbers and lists with bounds, each with the hint that a person gets who wrote another one.

The API server judges with the pattern and the bounds, which it shows as they are; the controller judges
with the same and answers with the hint. Patterns are RE2 without look-around: Go, Rust and Python read
them alike.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema


@dataclass(frozen=True)
class Text:
    """A string of a given form.

    Attributes:
        hint: what to write, starting with "write", without braces.
        pattern: RE2 expression, anchored.
        max_length: in characters.
        min_length: in characters.
    """

    hint: str
    pattern: str | None = None
    max_length: int = 253
    min_length: int = 1

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """A bounded string whose every failure is answered with the hint."""
        return core_schema.custom_error_schema(
            core_schema.str_schema(pattern=self.pattern, min_length=self.min_length, max_length=self.max_length),
            custom_error_type="text",
            custom_error_message=self.hint,
        )


@dataclass(frozen=True)
class Whole:
    """A whole number from `minimum` to `maximum`, both included."""

    minimum: int
    maximum: int

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """A bounded integer whose every failure is answered with the bounds."""
        return core_schema.custom_error_schema(
            core_schema.int_schema(ge=self.minimum, le=self.maximum),
            custom_error_type="whole",
            custom_error_message=f"write a whole number from {self.minimum} to {self.maximum}",
        )


@dataclass(frozen=True)
class AsSet:
    """Marks a list as a set: a value that occurs twice is an error."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """The list's own schema with a check for duplicates after it."""
        return core_schema.no_info_after_validator_function(_without_duplicates, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The list's own schema; the API server checks for duplicates by this mark."""
        return handler(schema) | {"x-kubernetes-list-type": "set"}


def _without_duplicates(values: tuple[Any, ...]) -> tuple[Any, ...]:
    for index, value in enumerate(values):
        if value in values[:index]:
            raise PydanticCustomError("duplicate", "remove one {value}: it is there twice", {"value": str(value)})
    return values


_LABEL: Final = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_HOST: Final = r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])"
_PORT: Final = "[0-9]{1,5}"

ObjectName = Annotated[
    str,
    Text(
        "write the name of a Kubernetes object: lower-case letters, digits, '-' and '.', at most 253 characters",
        rf"^{_LABEL}(\.{_LABEL})*$",
    ),
]
StoreName = Annotated[
    str,
    Text(
        "write a name of at most 63 characters: pods name their store in a label, and labels are no longer",
        rf"^{_LABEL}(\.{_LABEL})*$",
        max_length=63,
    ),
]
ContainerName = Annotated[
    str,
    Text(
        "write the name of a container: lower-case letters, digits and '-', at most 63 characters",
        f"^{_LABEL}$",
        max_length=63,
    ),
]
SecretKey = Annotated[
    str,
    Text(
        "write a key of the Secret's or ConfigMap's data: letters, digits, '-', '_' and '.'",
        "^[-._a-zA-Z0-9]+$",
    ),
]
LabelKey = Annotated[
    str,
    Text(
        "write a label's key such as app.kubernetes.io/name",
        r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$",
        max_length=317,
    ),
]
LabelValue = Annotated[
    str,
    Text(
        "write a label's value: letters, digits, '-', '_' and '.', at most 63 characters",
        "^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$",
        max_length=63,
        min_length=0,
    ),
]
Host = Annotated[
    str,
    Text("write a host name or an IP address such as db.example.com, the port apart from it", f"^{_HOST}$"),
]
Port = Annotated[int, Whole(1, 65_535)]
Address = Annotated[
    str,
    Text("write host:port such as redis.example.com:6379", f"^{_HOST}:{_PORT}$", max_length=259),
]
HostUrl = Annotated[
    str,
    Text(
        "write a URL of scheme, host and port such as https://search.example.com:9200, without path or login",
        f"^https?://{_HOST}(:{_PORT})?/?$",
        max_length=300,
    ),
]
BaseUrl = Annotated[
    str,
    Text(
        "write a URL such as https://memory.example.com/v1, without login, query or fragment",
        rf"^https?://{_HOST}(:{_PORT})?(/[-A-Za-z0-9_.~%/]*)?$",
        max_length=1024,
    ),
]
Addresses = Annotated[tuple[Address, ...], Field(min_length=1, max_length=32), AsSet()]
HostUrls = Annotated[tuple[HostUrl, ...], Field(min_length=1, max_length=32), AsSet()]
