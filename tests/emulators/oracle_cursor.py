"""The emulator's cursors, LOB locators and values."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Self

import oracledb
from oracledb import errors

from tests.emulators.oracle_admin import is_administrative
from tests.emulators.oracle_errors import oracle_error
from tests.emulators.oracle_lint import RefusedByOracleError, check
from tests.emulators.oracle_sql import Translation, translate

if TYPE_CHECKING:
    import psycopg

    from tests.emulators.oracle import EmulatedConnection

_LONGEST: dict[type, int] = {str: 4000, bytes: 2000}
"""Bytes of a bind in an expression, with MAX_STRING_SIZE=STANDARD."""

_LONG_TYPES = (oracledb.DB_TYPE_LONG, oracledb.DB_TYPE_LONG_RAW)
_LOB_TYPES = (oracledb.DB_TYPE_CLOB, oracledb.DB_TYPE_BLOB)
_BYTEA, _TEXT, _NUMERIC = 17, 25, 1700
_LAST_BUILTIN = 16383
"""Object identifiers of PostgreSQL's own types."""


class EmulatedLOB:
    """A locator: the value takes a round trip of its own."""

    def __init__(self, connection: EmulatedConnection, value: str | bytes) -> None:
        self._connection = connection
        self._value = value

    async def read(self) -> str | bytes:
        type(self._connection).round_trips += 1
        return self._value


@dataclass
class EmulatedVar:
    """What a handler of output types asks for."""

    type: Any
    arraysize: int


@dataclass(frozen=True)
class EmulatedColumn:
    """What a handler of output types is told, and a description of a query's columns."""

    name: str
    type_code: Any
    vector_dimensions: int | None = None


class EmulatedCursor:
    """What `oracledb.AsyncCursor` offers, as far as the library uses it."""

    def __init__(self, connection: EmulatedConnection) -> None:
        self.connection = connection
        self.arraysize = 100
        self.prefetchrows = 2
        self.rowcount = -1
        self.description: list[EmulatedColumn] | None = None
        self._types: dict[str, Any] = {}
        self._rows: list[tuple[Any, ...]] | None = None
        self._fetches = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._rows = None

    def setinputsizes(self, **types: Any) -> None:
        self._types = types

    def var(self, typ: Any, *, arraysize: int = 1) -> EmulatedVar:
        return EmulatedVar(typ, arraysize)

    async def execute(self, statement: str, parameters: dict[str, Any] | None = None) -> Self | None:
        if is_administrative(statement):
            check(statement)
            await self.connection.administer(statement)
            return None
        found = self._prepare(statement)
        binds = self._bind(found, parameters or {})
        cursor = await self._run(found, [binds])
        if found.kind != "query":
            return None
        described = await self.connection.run(found.described_by, binds) if found.described_by else cursor
        self.description = await self._columns(described)
        await self._fetch_from(cursor, self.description)
        return self

    async def executemany(self, statement: str, parameters: list[dict[str, Any]]) -> None:
        found = self._prepare(statement)
        assert found.kind == "dml"
        await self._run(found, [self._bind(found, each) for each in parameters])

    async def fetchall(self) -> list[tuple[Any, ...]]:
        rows = self._rows
        if rows is None:
            errors._raise_err(errors.ERR_NOT_A_QUERY)
        assert rows is not None
        type(self.connection).round_trips += self._fetches
        self._rows, self._fetches = [], 0
        return rows

    def _prepare(self, statement: str) -> Translation:
        check(statement)
        type(self.connection).round_trips += 1
        return translate(statement)

    async def _run(self, found: Translation, binds: list[dict[str, Any]]) -> psycopg.AsyncCursor[Any]:
        cursor = await self.connection.execute(found, binds)
        self.rowcount = cursor.rowcount
        return cursor

    def _bind(self, statement: Translation, parameters: dict[str, Any]) -> dict[str, Any]:
        for name in parameters.keys() - statement.binds:
            errors._raise_err(errors.ERR_INVALID_BIND_NAME, name=name)
        for name in statement.binds - parameters.keys():
            errors._raise_err(errors.ERR_MISSING_BIND_VALUE, name=name)
        for name in self._types.keys() - statement.binds:
            errors._raise_err(errors.ERR_INVALID_BIND_NAME, name=name)
        return {name: self._value(statement, name, value) for name, value in parameters.items()}

    def _value(self, statement: Translation, name: str, value: Any) -> Any:
        if isinstance(value, array):
            return f"[{','.join(map(repr, value))}]"
        if value in ("", b""):
            return None
        if isinstance(value, bool):
            raise RefusedByOracleError(f":{name}: no type BOOLEAN in SQL before 23ai")
        if isinstance(value, datetime) and (value.tzinfo or self._types.get(name) is not oracledb.DB_TYPE_TIMESTAMP):
            raise RefusedByOracleError(f":{name}: the driver drops time zones, and binds a DATE unless told otherwise")
        longest = _LONGEST.get(type(value))
        if longest is not None and len(value.encode() if isinstance(value, str) else value) > longest:
            in_column = name in statement.to_columns and not statement.merges
            if not in_column and self._types.get(name) not in _LOB_TYPES:
                raise oracle_error(1461)
        return value

    async def _fetch_from(self, cursor: psycopg.AsyncCursor[Any], columns: list[EmulatedColumn]) -> None:
        wanted = [self._handled(column) for column in columns]
        self._rows = [
            tuple(self._converted(*each) for each in zip(row, columns, wanted, strict=True))
            for row in await cursor.fetchall()
        ]
        # LOBs are never fetched with the execution; nor are rows beyond the prefetch.
        lobs = any(column.type_code in _LOB_TYPES for column in columns)
        beyond = len(self._rows) if lobs else max(0, len(self._rows) - self.prefetchrows + 1)
        self._fetches = -(-beyond // self.arraysize)

    def _handled(self, column: EmulatedColumn) -> EmulatedVar | None:
        handler = self.connection.outputtypehandler
        handled: EmulatedVar | None = handler and handler(self, column)
        return handled

    def _converted(self, value: Any, column: EmulatedColumn, wanted: EmulatedVar | None) -> Any:
        if isinstance(value, Decimal):
            return int(value) if value == value.to_integral_value() else float(value)
        if value is None or column.type_code not in _LOB_TYPES:
            return value
        return value if wanted and wanted.type in _LONG_TYPES else EmulatedLOB(self.connection, value)

    async def _columns(self, cursor: psycopg.AsyncCursor[Any]) -> list[EmulatedColumn]:
        """Describe the columns of a result; only LOBs are stored externally, see `oracle_sql`."""
        result, known = cursor.pgresult, self.connection.lobs
        assert result is not None
        assert cursor.description is not None
        places = [(result.ftable(each), result.ftablecol(each)) for each in range(result.nfields)]
        if unknown := {table for table, _ in places if table} - {table for table, _ in known}:
            asked = await self.connection.run(
                "SELECT attrelid::int8, attnum::int, attstorage = 'e' FROM pg_attribute "
                "WHERE attrelid = ANY(%(tables)s) AND attnum > 0",
                {"tables": list(unknown)},
            )
            known |= {(table, number): lob for table, number, lob in await asked.fetchall()}
        kinds = {_NUMERIC: oracledb.DB_TYPE_NUMBER}
        found = []
        for index, (place, column) in enumerate(zip(places, cursor.description, strict=True)):
            kind = kinds.get(column.type_code, oracledb.DB_TYPE_VARCHAR)
            if column.type_code in (_BYTEA, _TEXT):
                lob, short = {
                    _BYTEA: (oracledb.DB_TYPE_BLOB, oracledb.DB_TYPE_RAW),
                    _TEXT: (oracledb.DB_TYPE_CLOB, oracledb.DB_TYPE_VARCHAR),
                }[column.type_code]
                kind = lob if known.get(place) else short
            # The modifier of pgvector's type is the number of dimensions; those of most types are negative.
            dimensions = result.fmod(index) if column.type_code > _LAST_BUILTIN else None
            found.append(EmulatedColumn(column.name.upper(), kind, dimensions))
        return found
