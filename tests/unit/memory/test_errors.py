"""The tree of errors."""

import pytest

from locus_memory import errors
from locus_memory.errors import (
    BackendUnavailableError,
    CapabilityNotSupportedError,
    CheckpointError,
    InvalidArgumentError,
    InvalidStateError,
    MemoryModelError,
    MissingDriverError,
)

ALL = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, Exception)]


@pytest.mark.parametrize("error", ALL)
def test_every_error_is_a_checkpoint_error_and_says_whether_to_retry(error: type[CheckpointError]) -> None:
    assert issubclass(error, CheckpointError)
    assert error.retryable is (error in (BackendUnavailableError, MemoryModelError))


def test_errors_are_what_python_programmers_expect_as_well() -> None:
    assert issubclass(CapabilityNotSupportedError, NotImplementedError)
    assert issubclass(InvalidArgumentError, ValueError)
    assert issubclass(InvalidStateError, TypeError)
    assert issubclass(MissingDriverError, ImportError)


def test_a_missing_capability_is_named() -> None:
    error = CapabilityNotSupportedError("RedisBackend", "search")
    assert error.capability == "search"
    assert str(error).startswith("RedisBackend has no capability 'search'")
