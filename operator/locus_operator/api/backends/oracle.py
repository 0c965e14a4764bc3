"""`spec.backend.oracle`: Oracle Database and Autonomous Database."""

from typing import Annotated

from pydantic import Field

from locus_operator.api.references import AdminSecretRef, SecretRef
from locus_operator.api.rules import SpecModel, fixed_at_creation
from locus_operator.api.shapes import Text

_Identifier = Annotated[
    str,
    Text(
        "write a name of Oracle: a letter, then letters, digits, '_', '$' and '#', at most 128",
        "^[A-Za-z][A-Za-z0-9_$#]*$",
        max_length=128,
    ),
]
_TableName = Annotated[
    str,
    # The indexes and the table of pending writes are called like it, with a suffix.
    Text(
        "write a table name: a letter, then letters, digits, '_', '$' and '#', at most 100",
        "^[A-Za-z][A-Za-z0-9_$#]*$",
        max_length=100,
    ),
]


class OracleBackend(SpecModel):
    """An owner schema without login, and two users, in an Oracle Database.

    Names are read as Oracle reads unquoted ones: upper and lower case are the same.
    """

    admin_secret_ref: AdminSecretRef = Field(
        description="Credentials of a user that may create users, such as ADMIN of an Autonomous Database."
    )
    dsn: Annotated[
        str,
        Text(
            "write an Easy Connect string such as db.example.com:1521/service, a TNS alias of the wallet "
            "such as mydb_high, or a connect descriptor, without login",
            r"^[^@\s][^@\r\n]*$",
            max_length=2048,
        ),
    ] = Field(description="Easy Connect string, TNS alias of the wallet, or connect descriptor.")
    wallet_secret_ref: SecretRef | None = Field(
        None,
        description="Secret with the wallet's files (tnsnames.ora, ewallet.pem) and, for an encrypted one, "
        "the key "
        "walletPassword.",
    )
    owner: _Identifier | None = Field(
        None,
        description="Schema that owns the tables of this store alone. Default: locus_<namespace>_<name>. "
        "Fixed at creation.",
    )
    table_name: _TableName = Field("locus_checkpoints", description="Name of the checkpoint table. Fixed at creation.")
    tablespace: _Identifier | None = Field(
        None, description="Tablespace of the tables. Default: the database's default tablespace."
    )
    quota: Annotated[
        str,
        Text(
            "write unlimited, or a number and one unit of K, M, G or T, such as 10G",
            "^(unlimited|[1-9][0-9]{0,8}[KMGT])$",
            max_length=10,
        ),
    ] = Field("unlimited", description="Space that the owner may use in the tablespace, such as 10G.")

    _owner_is_fixed = fixed_at_creation("owner", "owner", "create another store for another owner")
    _table_is_fixed = fixed_at_creation("table_name", "tableName", "create another store for another table")
