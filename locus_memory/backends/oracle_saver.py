"""The history-shaped face on Oracle, under the name and with the arguments that users of locus know."""

from __future__ import annotations

from typing import Literal, Unpack

from locus_memory.adapter import AdapterOptions
from locus_memory.backends.oracle import oracle_checkpointer
from locus_memory.saver import CheckpointSaver


class OracleCheckpointSaver(CheckpointSaver):
    """Keeps every step of a graph, and pending writes, in Oracle Database.

    With `table_name="locus"` it is the same store as `oracle_checkpointer(table_name="locus_checkpoints")`: one set of
    tables, which both create.

    Args:
        dsn: Connect descriptor, EZConnect string such as `db.example.com:1521/service` (`tcps://...` for TLS), or
            alias in tnsnames.ora; without login.
        user: Login.
        password: Its password.
        wallet_location: Directory of the wallet; `~` is the home directory.
        wallet_password: Its password, for wallets with a private key.
        table_name: How the names of the tables start: `<table_name>_checkpoints`, `<table_name>_writes`, and those
            beside them that `docs/backends/oracle.md` lists. Case does not matter.
        schema: Owner of the tables; the login by default.
        config_dir: Directory of tnsnames.ora; the wallet's by default.
        ca: Certificates that sign the server's, PEM text, for TLS without a wallet.
        ssl_server_dn_match: The server's certificate must name the host, or be `ssl_server_cert_dn`.
        ssl_server_cert_dn: Distinguished name of the server's certificate.
        pool_max_size: Connections per event loop, at least 1.
        tables: `provisioned` to never run DDL.
        options: `retry`, `compression`, `encryption_key`, `state_type`; see `locus_memory.adapter.AdapterOptions`.

    Raises:
        MissingDriverError: python-oracledb is not installed.
        BindingError: An argument cannot be used.
    """

    def __init__(
        self,
        dsn: str,
        user: str | None = None,
        password: str | None = None,
        wallet_location: str | None = None,
        wallet_password: str | None = None,
        table_name: str = "locus",
        schema: str | None = None,
        *,
        config_dir: str | None = None,
        ca: str | None = None,
        ssl_server_dn_match: bool = True,
        ssl_server_cert_dn: str | None = None,
        pool_max_size: int = 10,
        tables: Literal["auto", "provisioned"] = "auto",
        **options: Unpack[AdapterOptions],
    ) -> None:
        super().__init__(
            oracle_checkpointer(
                dsn,
                user,
                password,
                wallet_location,
                wallet_password,
                f"{table_name}_checkpoints",
                schema,
                config_dir=config_dir,
                ca=ca,
                ssl_server_dn_match=ssl_server_dn_match,
                ssl_server_cert_dn=ssl_server_cert_dn,
                pool_max_size=pool_max_size,
                tables=tables,
                **options,
            )
        )
