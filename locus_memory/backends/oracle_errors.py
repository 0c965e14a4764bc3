"""What the errors of python-oracledb mean to a caller of a checkpointer."""

from __future__ import annotations

from typing import Final

import oracledb

from locus_memory.errors import (
    AuthenticationError,
    BackendUnavailableError,
    BindingError,
    CheckpointConflictError,
    CheckpointError,
    SchemaError,
    StateTooLargeError,
)

# Numbers and meanings: https://docs.oracle.com/error-help/db/ and `errors.py` of python-oracledb.
NOT_UNIQUE: Final = "ORA-00001"
NAME_IN_USE: Final = "ORA-00955"
NO_SUCH_TABLE: Final = "ORA-00942"
NO_PARENT: Final = "ORA-02291"

_REJECTED_LOGIN: Final = frozenset(
    {
        "ORA-01005",  # null password
        "ORA-01017",  # invalid user name or password
        "ORA-01045",  # lacks CREATE SESSION
        "ORA-28000",  # account locked
        "ORA-28001",  # password expired
        "ORA-28007",
        "ORA-28040",  # no matching authentication protocol
        "DPY-4001",  # no credentials
        "DPY-3015",  # password verifier of Oracle 10g
    }
)
_MISSING_PRIVILEGE: Final = frozenset(
    {
        "ORA-01031",
        "ORA-01950",  # no quota at all on the tablespace
        "ORA-41900",  # what 23ai says instead of ORA-01031 and ORA-00942
    }
)
_MISSING_OBJECT: Final = frozenset({NO_SUCH_TABLE, "ORA-00904", "ORA-02289", "ORA-04043"})
_WRONG_DOCUMENT: Final = frozenset(
    {
        "DPY-4000",  # alias not in tnsnames.ora
        "DPY-4017",  # invalid connect descriptor
        "DPY-4018",  # connect string cannot be parsed
        "DPY-4021",  # unknown protocol
        "DPY-4026",  # file of the wallet or tnsnames.ora missing
        "DPY-4027",  # an alias, but no directory to look it up in
        "DPY-2012",  # ssl_server_cert_dn or wallet password
        "DPY-2018",  # file of the wallet missing
    }
)
_PASSING: Final = frozenset(
    {
        "ORA-00018",  # maximum number of sessions
        "ORA-00020",  # maximum number of processes
        "ORA-00054",  # resource busy
        "ORA-00060",  # deadlock: this transaction was undone
        "ORA-00257",  # archive destination full
        "ORA-00604",  # at a lower level: most often a lock, or a race between sessions that run DDL
        "ORA-01013",  # cancelled
        "ORA-01033",  # starting or stopping
        "ORA-01034",
        "ORA-01089",
        "ORA-01090",
        "ORA-01109",  # database not open
        "ORA-01536",  # quota of the tablespace exceeded
        "ORA-01555",  # snapshot too old
        "ORA-01652",
        "ORA-01653",  # tablespace full; so are the next ones
        "ORA-01654",
        "ORA-01658",
        "ORA-01691",
        "ORA-02292",  # a child row that came while its thread was deleted
        "ORA-02264",  # name of a constraint in use: another session creates the same table just now
        "ORA-02391",  # SESSIONS_PER_USER
        "ORA-02396",  # idle too long
        "ORA-04020",  # deadlock or timeout on a library object: concurrent DDL
        "ORA-04021",
        "ORA-04031",  # shared memory
        "ORA-08177",  # cannot serialise
        "ORA-14411",  # concurrent DDL
        "ORA-16000",  # opened read-only: a standby, until it is the primary
        "ORA-16456",  # switchover in progress
        "ORA-22922",  # LOB gone while it was read
        "ORA-25402",  # transaction lost in a failover
        "ORA-25408",
        "ORA-30036",  # undo tablespace full
        "DPY-4005",
        "DPY-4011",  # connection closed
        "DPY-4024",  # call timeout
        "DPY-4033",  # idle too long
        "DPY-1001",  # connection closed earlier
        "DPY-6000",  # refused by the listener
        "DPY-6001",  # service not registered (yet)
        "DPY-6002",
        "DPY-6003",
        "DPY-6005",  # cannot connect
        "DPY-6006",
        "DPY-6007",
    }
)
_TOO_LARGE: Final = frozenset({"ORA-01461", "ORA-22835", "ORA-24801", "ORA-43857", "DPY-5002"})


def code_of(error: BaseException) -> str:
    """Return the code of an error of the driver, such as `ORA-00001` or `DPY-4011`."""
    return str(getattr(error.args[0] if error.args else None, "full_code", ""))


def is_passing(error: BaseException) -> bool:
    """Tell whether the same call may succeed later, without anybody doing something."""
    return code_of(error) in _PASSING or bool(getattr(error.args[0] if error.args else None, "isrecoverable", False))


def is_rejected_login(error: BaseException) -> bool:
    """Tell whether the database does not want this user, with this password, as things are."""
    return code_of(error) in _REJECTED_LOGIN


def is_missing_privilege(error: BaseException) -> bool:
    """Tell whether somebody with more privileges could have done it."""
    return code_of(error) in _MISSING_PRIVILEGE


def is_wrong_address(error: BaseException) -> bool:
    """Tell whether connect string or wallet are wrong."""
    return code_of(error) in _WRONG_DOCUMENT


def translate(error: oracledb.Error, where: str, user: str | None, tables: str) -> CheckpointError:
    """Turn an error of the driver into one of this library.

    Args:
        error: What the driver raised.
        where: Names the database, for the message.
        user: The login.
        tables: Names the table of checkpoints.
    """
    code, text = code_of(error), text_of(error)
    if is_rejected_login(error):
        return AuthenticationError(f"{where}: the login {user!r} is rejected: {text}")
    if is_missing_privilege(error):
        return AuthenticationError(
            f"{where}: the login {user!r} lacks a privilege: {text}; grant it, or let their owner create the tables "
            "and say tables='provisioned'"
        )
    if code in _MISSING_OBJECT:
        return SchemaError(
            f"{where}: {text}; the tables of {tables} are missing, of another version, or not granted to {user!r} "
            "(the operator creates provisioned ones again at its next sweep)"
        )
    if is_wrong_address(error):
        return BindingError(f"{where}: {text}; check dsn, config_dir and wallet_location")
    if code in _TOO_LARGE:
        return StateTooLargeError(f"{where}: {text}")
    if code == NOT_UNIQUE:
        return CheckpointConflictError(f"{where}: {text}")
    if is_passing(error):
        return BackendUnavailableError(f"{where}: {text}")
    return CheckpointError(f"{where}: {text}")


def text_of(error: BaseException) -> str:
    """Return what an error of the driver says, in one line."""
    # Further lines are a cause, such as the operating system's error, and addresses of help pages.
    lines = [line for line in str(error).strip().splitlines() if not line.startswith("Help:")]
    return "; ".join(lines) or type(error).__name__
