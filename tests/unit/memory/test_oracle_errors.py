"""What an error of Oracle or of its driver is to a caller."""

import pytest
from oracledb import errors

from locus_memory.backends.oracle_errors import code_of, translate
from locus_memory.errors import (
    AuthenticationError,
    BackendUnavailableError,
    BindingError,
    CheckpointConflictError,
    CheckpointError,
    SchemaError,
    StateTooLargeError,
)


def made(code: int) -> Exception:
    error = errors._Error(f"ORA-{code:05}: something happened\nHelp: https://docs.oracle.com/", code=code)
    exception: Exception = error.exc_type(error)
    return exception


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ((1017, 28000, 28001, 1045, 1005), AuthenticationError),
        ((1031, 1950, 41900), AuthenticationError),
        ((942, 904, 2289), SchemaError),
        ((1,), CheckpointConflictError),
        ((1461,), StateTooLargeError),
        # Failovers, restarts, full disks, locks: they may pass by themselves.
        ((3113, 3114, 3135, 28, 1012, 1089, 12537, 12570), BackendUnavailableError),
        ((1033, 1034, 1090, 12514, 12571, 16000, 16456), BackendUnavailableError),
        ((54, 60, 604, 2264, 2292, 4021, 14411, 8177, 1555), BackendUnavailableError),
        ((1653, 1654, 1691, 1536, 257, 18, 20, 2391, 4031), BackendUnavailableError),
    ],
)
def test_each_number_is_the_error_that_tells_what_to_do(codes: tuple[int, ...], expected: type) -> None:
    for code in codes:
        assert type(translate(made(code), "Oracle at db", "agent", "T")) is expected, code  # type: ignore[arg-type]


def test_anything_else_is_an_error_that_is_not_repeated() -> None:
    error = translate(made(12899), "Oracle at db", "agent", "T")  # type: ignore[arg-type]
    assert type(error) is CheckpointError
    assert not error.retryable
    assert str(error) == "Oracle at db: ORA-12899: something happened"


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errors.ERR_CONNECTION_FAILED, BackendUnavailableError),
        (errors.ERR_CONNECTION_CLOSED, BackendUnavailableError),
        (errors.ERR_LISTENER_REFUSED_CONNECTION, BackendUnavailableError),
        (errors.ERR_INVALID_SERVICE_NAME, BackendUnavailableError),
        (errors.ERR_NOT_CONNECTED, BackendUnavailableError),
        (errors.ERR_NO_CREDENTIALS, AuthenticationError),
        (errors.ERR_TNS_ENTRY_NOT_FOUND, BindingError),
        (errors.ERR_NO_CONFIG_DIR, BindingError),
        (errors.ERR_MISSING_FILE, BindingError),
    ],
)
def test_the_driver_s_own_errors(number: int, expected: type) -> None:
    error = errors._Error(f"DPY-{number:04}: something happened")
    exception = error.exc_type(error)
    assert code_of(exception) == f"DPY-{number:04}"
    assert type(translate(exception, "Oracle at db", "agent", "T")) is expected
