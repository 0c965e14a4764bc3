"""SQL that sqlglot's Oracle reader accepts and Oracle 19c refuses: each rule names the error that it would be.

It reads statements, not catalogues: what depends on the type of a column is the emulator's to notice.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator

import sqlglot
from sqlglot import exp
from sqlglot.tokenizer_core import Token, TokenType

from tests.emulators.oracle_admin import is_administrative
from tests.emulators.oracle_sql import parse

MAX_NAME_BYTES = 128

# https://docs.oracle.com/en/database/oracle/oracle-database/19/sqlrf/Oracle-SQL-Reserved-Words.html
_WORDS = (
    "ACCESS ADD ALL ALTER AND ANY AS ASC AUDIT BETWEEN BY CHAR CHECK CLUSTER COLUMN COLUMN_VALUE COMMENT COMPRESS "
    "CONNECT CREATE CURRENT DATE DECIMAL DEFAULT DELETE DESC DISTINCT DROP ELSE EXCLUSIVE EXISTS FILE FLOAT FOR FROM "
    "GRANT GROUP HAVING IDENTIFIED IMMEDIATE IN INCREMENT INDEX INITIAL INSERT INTEGER INTERSECT INTO IS LEVEL LIKE "
    "LOCK LONG MAXEXTENTS MINUS MLSLABEL MODE MODIFY NESTED_TABLE_ID NOAUDIT NOCOMPRESS NOT NOWAIT NULL NUMBER OF "
    "OFFLINE ON ONLINE OPTION OR ORDER PCTFREE PRIOR PUBLIC RAW RENAME RESOURCE REVOKE ROW ROWID ROWNUM ROWS SELECT "
    "SESSION SET SHARE SIZE SMALLINT START SUCCESSFUL SYNONYM SYSDATE TABLE THEN TO TRIGGER UID UNION UNIQUE UPDATE "
    "USER VALIDATE VALUES VARCHAR VARCHAR2 VIEW WHENEVER WHERE WITH"
)
RESERVED = frozenset(_WORDS.split())
_PSEUDO_COLUMNS = {"ROWNUM", "LEVEL", "SYSDATE", "UID", "USER", "ROWID"}

_PATTERNS = {
    r";": "ORA-00933: a statement ends without semicolon",
    r"\bLIMIT\b(?!\s*,)": "ORA-00933: write FETCH FIRST n ROWS ONLY for LIMIT",
    r"\bON\s+CONFLICT\b|\bON\s+DUPLICATE\b": "ORA-00933: write MERGE for ON CONFLICT",
    r"::": "ORA-00911: write CAST for ::",
    r"\bILIKE\b|\bSIMILAR\s+TO\b|~": "ORA-00920: no such operator",
    r"->|@>|<@|\?\||#>": "ORA-00920: no such operator",
    r"\bRETURNING\b(?![\s\S]*\bINTO\b)": "ORA-00925: RETURNING needs INTO",
    r"\bIF\s+(NOT\s+)?EXISTS\b": "ORA-00922: IF EXISTS is for 23ai and later",
    r"\b(TRUE|FALSE)\b": "ORA-00904: no boolean literals before 23ai",
    r"\bEXCEPT\b": "ORA-00933: write MINUS for EXCEPT before 21c",
    r"\bFOR\s+(SHARE|NO\s+KEY|KEY)\b": "ORA-00933: only FOR UPDATE locks rows",
    r"\bDEFAULT\s+VALUES\b": "ORA-00926",
    r"\b(TEXT|BOOLEAN|BOOL|BYTEA|JSONB|BIGSERIAL|SERIAL|BIGINT|TIMESTAMPTZ|UUID|STRING)\b": "ORA-00902: no such type",
    r"\bJSON\b(?<!IS JSON)(?!_|\s*\()": "ORA-00902: type JSON is for 21c and later",
    r"\b(NOW|STRING_AGG|GEN_RANDOM_UUID|DATE_TRUNC|ARRAY_AGG|CLOCK_TIMESTAMP|SHA256|MD5|RANDOM)\s*\(": "ORA-00904",
    r"\bEXTRACT\s*\(\s*EPOCH\b": "ORA-00907",
    r"\$\d|%s|%\(": "ORA-00911: binds are :name",
    r"\bORDER\s+BY\b[^()]*\bFETCH\b[^()]*\bFOR\s+UPDATE\b|\b(DISTINCT|GROUP\s+BY)\b[\s\S]*\bFOR\s+UPDATE\b": (
        "ORA-02014: no FOR UPDATE with FETCH FIRST, DISTINCT or GROUP BY"
    ),
}
# "limit" is a name as well: after a colon it is a bind.
_BIND = re.compile(r"(?<!:):([A-Za-z]\w*)")
_LITERAL = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"")


class RefusedByOracleError(AssertionError):
    """A statement that a real database would not take; no error of the driver, so that no library code handles it."""


@functools.cache
def check(statement: str) -> None:
    """Refuse a statement that Oracle 19c would refuse.

    Raises:
        RefusedByOracleError: With all that is wrong with it.
    """
    # What administrators do has a grammar of its own, stricter than sqlglot's.
    structural = [] if is_administrative(statement) else _structural(statement)
    found = [*_textual(statement), *structural]
    if found:
        raise RefusedByOracleError(f"{'; '.join(found)}\n{statement}")


def _textual(statement: str) -> Iterator[str]:
    for name in _BIND.findall(_LITERAL.sub("''", statement)):
        if name.upper() in RESERVED:
            yield f"ORA-01745: bind :{name} is a reserved word"
    bare = _BIND.sub("?", _LITERAL.sub("x", statement))
    for pattern, complaint in _PATTERNS.items():
        if re.search(pattern, bare, re.IGNORECASE):
            yield complaint
    if not statement.isascii():
        yield "non-ASCII text: another character set reads it otherwise"
    if "''" in re.sub(r"'(?:[^']|'')+'", "x", statement):
        yield "'' is NULL: a comparison with it is never true"


def _structural(statement: str) -> Iterator[str]:
    tokens = sqlglot.tokenize(statement, read="oracle")
    yield from _aliases(tokens)
    for token in tokens:
        if token.token_type in (TokenType.IDENTIFIER, TokenType.VAR) and len(token.text.encode()) > MAX_NAME_BYTES:
            yield f"ORA-00972: {token.text[:20]}... is longer than {MAX_NAME_BYTES} bytes"
    for node in parse(statement).walk():
        for rule in _RULES:
            if complaint := rule(node):
                yield complaint


def _aliases(tokens: list[Token]) -> Iterator[str]:
    before_table = {TokenType.FROM, TokenType.JOIN, TokenType.INTO, TokenType.UPDATE, TokenType.USING}
    subqueries: list[bool] = []
    for index, token in enumerate(tokens):
        if token.token_type is TokenType.L_PAREN:
            subqueries.append(index > 0 and tokens[index - 1].token_type in before_table)
            continue
        end = None
        if token.token_type is TokenType.R_PAREN and subqueries.pop():
            end = index + 1
        elif token.token_type in before_table:
            end = index + 2
            while end < len(tokens) and tokens[end].token_type is TokenType.DOT:
                end += 2
        if end is not None and end < len(tokens) and tokens[end].token_type is TokenType.ALIAS:
            yield "ORA-00933: no AS before the alias of a table"


def _from_less(node: exp.Expr) -> str | None:
    if isinstance(node, exp.Select) and not node.find(exp.From, bfs=True):
        return "ORA-00923: SELECT needs FROM before 23ai"
    return None


def _many_rows(node: exp.Expr) -> str | None:
    if isinstance(node, exp.Values) and len(node.expressions) > 1:
        return "ORA-00933: VALUES of several rows is for 23ai and later"
    return None


def _reserved(node: exp.Expr) -> str | None:
    if isinstance(node, exp.Identifier) and not node.args.get("quoted"):
        name = str(node.this).upper()
        if name in RESERVED - _PSEUDO_COLUMNS:
            return f"ORA-00904: {name} is reserved"
        if name.startswith("_"):
            return f"ORA-00911: {name} starts with an underscore"
    return None


def _dialect(node: exp.Expr) -> str | None:
    written = (exp.Insert, exp.Update, exp.Delete, exp.Merge)
    if isinstance(node, written) and (node.args.get("with_") or node.args.get("with")):
        return "ORA-00928: WITH belongs after INSERT INTO ..., and nowhere else"
    if isinstance(node, exp.Delete) and node.args.get("using"):
        return "ORA-00933: no DELETE ... USING"
    if isinstance(node, exp.Update) and (node.args.get("from_") or node.args.get("from")):
        return "ORA-00933: UPDATE ... FROM is for 23ai and later"
    if (
        isinstance(node, exp.Select)
        and len(node.expressions) > 1
        and any(isinstance(e, exp.Star) for e in node.expressions)
    ):
        return "ORA-00923: an unqualified * stands alone"
    if isinstance(node, exp.Command):
        return "the emulator cannot judge this statement"
    return None


def _merged_key(node: exp.Expr) -> str | None:
    if not isinstance(node, exp.Merge):
        return None
    keys = {column.name for column in node.args["on"].find_all(exp.Column)}
    for update in node.find_all(exp.Update):
        if any(assignment.this.name in keys for assignment in update.expressions):
            return "ORA-38104: MERGE cannot update a column of its ON"
    return None


def _two_keys(node: exp.Expr) -> str | None:
    if not isinstance(node, exp.Schema):
        return None
    keys = [*node.find_all(exp.PrimaryKey), *node.find_all(exp.UniqueColumnConstraint)]
    sets = [frozenset(name.name.upper() for name in key.find_all(exp.Identifier)) for key in keys]
    if len(set(sets)) < len(sets):
        return "ORA-02261: the same columns cannot be two keys"
    return None


_RULES: tuple[Callable[[exp.Expr], str | None], ...] = (
    _from_less,
    _many_rows,
    _reserved,
    _dialect,
    _merged_key,
    _two_keys,
)
