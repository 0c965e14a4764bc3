"""Errors of PostgreSQL as python-oracledb would raise Oracle's."""

from __future__ import annotations

from typing import NoReturn

import psycopg
from oracledb import errors

_MESSAGES = {
    1: "unique constraint violated",
    18: "maximum number of sessions exceeded",
    30: "User session ID does not exist.",
    54: "resource busy and acquire with NOWAIT specified or timeout expired",
    60: "deadlock detected while waiting for resource",
    904: "invalid identifier",
    942: "table or view does not exist",
    955: "name is already used by an existing object",
    959: "tablespace does not exist",
    1013: "user requested cancel of current operation",
    1017: "invalid username/password; logon denied",
    1031: "insufficient privileges",
    1033: "ORACLE initialization or shutdown in progress",
    1045: "user lacks CREATE SESSION privilege; logon denied",
    1400: "cannot insert NULL",
    1407: "cannot update to NULL",
    1461: "can bind a LONG value only for insert into a LONG column",
    1653: "unable to extend table in tablespace USERS",
    1918: "user does not exist",
    1919: "role does not exist",
    1920: "user name conflicts with another user or role name",
    1940: "cannot drop a user that is currently connected",
    1950: "no privileges on tablespace",
    1951: "ROLE not granted",
    1952: "system privileges not granted",
    2290: "check constraint violated",
    2291: "integrity constraint violated - parent key not found",
    3113: "end-of-file on communication channel",
    8177: "can't serialize access for this transaction",
    12899: "value too large for column",
    16000: "database open for read-only access",
    28000: "The account is locked.",
    28001: "the password has expired",
    28003: "password verification for the specified password failed",
    28007: "the password cannot be reused",
}

_BY_STATE = {
    "23505": 1,
    "23503": 2291,
    "42P01": 942,
    "3F000": 942,
    "42P07": 955,
    "42703": 904,
    "40P01": 60,
    "40001": 8177,
    "55P03": 54,
    "57014": 1013,
    "57P03": 1033,
    "53300": 18,
    "53100": 1653,
    "25006": 16000,
    "22001": 12899,
}


def oracle_error(code: int, detail: str = "") -> Exception:
    """Make the exception of an error number, of the class and with the attributes that the driver gives it."""
    error = errors._Error(f"ORA-{code:05}: {_MESSAGES[code]} {detail}".strip(), code=code)
    made: Exception = error.exc_type(error)
    return made


def raise_translated(error: psycopg.Error, *, creates: bool, visible: bool = False) -> NoReturn:
    """Raise what Oracle would.

    Args:
        error: Of a statement.
        creates: The statement was DDL.
        visible: The login has some privilege on the table that it lacks another on.
    """
    state, constraint = error.sqlstate, error.diag.constraint_name or ""
    if state == "42501":
        raise oracle_error(1031 if creates or visible else 942) from error
    if creates and state in ("23505", "42710"):
        # Two sessions create the same table at once: PostgreSQL notices in its catalogue.
        raise oracle_error(955) from error
    if state == "23502":
        raise oracle_error(1400, f"into {error.diag.column_name}") from error
    if state == "23514":
        raise oracle_error(12899 if constraint.startswith("size of") else 2290, constraint) from error
    if state in _BY_STATE:
        raise oracle_error(_BY_STATE[state], f"({constraint or error.diag.message_primary})") from error
    if state is None or state[:2] in ("08", "57"):
        raise oracle_error(3113) from error
    # Not an error that a test of the library may meet: the translation is wrong.
    raise AssertionError(f"the emulator met {state}: {error}") from error


def raise_not_connected(error: psycopg.OperationalError, service: str | None, host: str, port: int) -> NoReturn:
    """Raise what the driver would for a connection that was not made."""
    text = str(error)
    if "not permitted to log in" in text:
        raise oracle_error(28000) from error
    if "permission denied for database" in text:
        raise oracle_error(1045) from error
    if any(each in text for each in ("password authentication failed", 'role "', "no password")):
        raise oracle_error(1017) from error
    if "does not exist" in text:
        made = errors._create_err(errors.ERR_INVALID_SERVICE_NAME, service_name=service, host=host, port=port)
    elif "starting up" in text or "shutting down" in text or "recovery" in text:
        raise oracle_error(1033) from error
    elif "too many" in text:
        raise oracle_error(18) from error
    else:
        cause = text.strip().splitlines()[0]
        made = errors._create_err(
            errors.ERR_CONNECTION_FAILED, cause=error, context_error_message=cause, connection_id="0"
        )
    raise made.exc_type(made) from error
