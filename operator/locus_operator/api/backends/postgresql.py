"""`spec.backend.postgresql`."""

from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field

from locus_operator.api.references import AdminSecretRef, CertificateAuthority
from locus_operator.api.rules import SpecModel, fixed_at_creation, rule
from locus_operator.api.shapes import Host, Port, Text, Whole

# PostgreSQL cuts longer identifiers in silence: two names could become one.
_IDENTIFIER_LIMIT: Final = 63


class SSLMode(StrEnum):
    """The modes of libpq, weakest first (PostgreSQL documentation, "SSL Mode Descriptions")."""

    DISABLE = "disable"
    ALLOW = "allow"
    PREFER = "prefer"
    REQUIRE = "require"
    VERIFY_CA = "verify-ca"
    VERIFY_FULL = "verify-full"


class PostgreSQLBackend(SpecModel):
    """A schema with two logins in a PostgreSQL database."""

    admin_secret_ref: AdminSecretRef = Field(
        description="Credentials of a role that may create roles, and schemas in the database."
    )
    host: Host = Field(description="Host name or IP address that the operator and the agents connect to.")
    port: Port = Field(5432, description="TCP port.")
    database: Annotated[
        str,
        Text(
            "write the name of a database: a letter or '_', then letters, digits, '_', '-' and '$', at most 63",
            "^[A-Za-z_][-A-Za-z0-9_$]*$",
            max_length=_IDENTIFIER_LIMIT,
        ),
    ] = Field(description="An existing database; the operator creates a schema in it. Fixed at creation.")
    schema_name: (
        Annotated[
            str,
            Text(
                "write a schema name in lower case: a letter or '_', then letters, digits and '_', at most 63",
                "^[a-z_][a-z0-9_]*$",
                max_length=_IDENTIFIER_LIMIT,
            ),
        ]
        | None
    ) = Field(
        None,
        alias="schema",
        description="Schema of this store alone. Default: locus_<namespace>_<name>. Fixed at creation.",
    )
    ssl_mode: SSLMode = Field(
        SSLMode.REQUIRE,
        description="libpq's sslmode, for the operator and the agents. `require` encrypts, `verify-full` "
        "also checks "
        "that the server is the right one, `disable` sends everything in clear text.",
    )
    ca: CertificateAuthority | None = Field(
        None,
        description="Certificates that may have signed the server's. Default: for verify-full those of the system.",
    )
    pool_max_size: Annotated[int, Whole(1, 1000)] = Field(
        10, description="Most connections that one agent process opens."
    )

    @rule(
        cel="!has(self.schema) || !(self.schema.startsWith('pg_') || self.schema == 'information_schema')",
        message="write another schema name: PostgreSQL keeps pg_* and information_schema for itself",
        field="schema",
    )
    def _schema_is_not_reserved(self) -> bool:
        name = self.schema_name or ""
        return not name.startswith("pg_") and name != "information_schema"

    @rule(
        cel="self.sslMode != 'verify-ca' || has(self.ca)",
        message="sslMode verify-ca needs ca: write ca, or sslMode: verify-full, which can use the system's",
        field="ca",
    )
    def _verification_has_certificates(self) -> bool:
        return self.ssl_mode is not SSLMode.VERIFY_CA or self.ca is not None

    @rule(
        cel="!has(self.ca) || self.sslMode in ['require', 'verify-ca', 'verify-full']",
        message="this sslMode does not read ca: write sslMode: verify-full, or remove ca",
        field="sslMode",
    )
    def _certificates_are_used(self) -> bool:
        return self.ca is None or self.ssl_mode in (SSLMode.REQUIRE, SSLMode.VERIFY_CA, SSLMode.VERIFY_FULL)

    _database_is_fixed = fixed_at_creation("database", "database", "create another store for another database")
    _schema_is_fixed = fixed_at_creation("schema_name", "schema", "create another store for another schema")
