"""`doctor`: a healthy, a read-only, an unreachable and a mis-typed binding get four different, helpful answers."""

import json
import secrets
import signal
import tempfile
from pathlib import Path

import pytest
from psycopg import sql

from locus_memory.backends.redis_keys import APPLICATION_COMMANDS, CONNECTION_COMMANDS
from locus_memory.commands.documents import DoctorDocument
from tests.commands.process import CommandLine, Done
from tests.commands.stores import fill_store, on
from tests.servers.postgresql import Database
from tests.servers.processes import free_port
from tests.servers.redis import RedisServer

ALLOWED = (*APPLICATION_COMMANDS, *CONNECTION_COMMANDS)


def codes(done: Done) -> set[str]:
    return {finding.code for finding in done.document(DoctorDocument).findings}


def finding(done: Done, code: str) -> str:
    [found] = [each for each in done.document(DoctorDocument).findings if each.code == code]
    return f"{found.level}: {found.message} -> {found.advice}"


@pytest.fixture
def reader_url(postgresql_database: Database, postgresql_url: str) -> str:
    """A filled store on PostgreSQL, with a login that may only read it."""
    fill_store(postgresql_url, threads=1)
    name = f"reader_{secrets.token_hex(4)}"
    postgresql_database.server.create_role(name, "reader-secret-7")
    role = sql.Identifier(name)
    postgresql_database.execute(sql.SQL("GRANT USAGE ON SCHEMA locus TO {}").format(role))
    postgresql_database.execute(sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA locus TO {}").format(role))
    return f"{postgresql_database.dsn(name, 'reader-secret-7')}?schema=locus"


def write_binding(root: Path, document: dict[str, object]) -> dict[str, str]:
    (root / "support").mkdir(parents=True)
    (root / "support/type").write_text("checkpointer")
    (root / "support/connection.json").write_text(json.dumps(document))
    return {"SERVICE_BINDING_ROOT": str(root)}


def test_a_healthy_store_works(bound: CommandLine) -> None:
    done = bound.run("doctor", "--json")
    report: DoctorDocument = done.document(DoctorDocument)
    assert report.ok
    assert "works" in codes(done)
    assert report.latency_ms is not None
    assert set(report.latency_ms) == {"save", "load", "list", "delete"}
    assert report.capabilities is not None
    assert report.capabilities["vacuum"]
    assert bound.run("threads", "--json").json == {"threads": [], "more": False}


def test_it_says_where_the_binding_was_found(command_line: CommandLine, tmp_path: Path) -> None:
    environment = write_binding(tmp_path / "bindings", {"version": 1, "type": "file", "directory": str(tmp_path / "t")})
    report = command_line.run("doctor", "--json", environment=environment).document(DoctorDocument)
    assert report.binding.found == f"{tmp_path}/bindings/support"
    assert "support" in report.binding.looked_at["$SERVICE_BINDING_ROOT"]
    assert report.binding.type == "file"


def test_facts_of_postgresql_are_shown(command_line: CommandLine, postgresql_url: str) -> None:
    command_line.bind(postgresql_url)
    first = command_line.run("doctor", "--json")
    assert "postgresql-tables-created" in codes(first)
    done = command_line.run("doctor", "--json")
    facts = done.document(DoctorDocument).facts
    assert facts["server"].startswith("PostgreSQL 18")
    assert (facts["tables"], facts["TLS"]) == ("complete", "no")
    assert "superuser" in finding(done, "postgresql-superuser")
    command_line.run("doctor", "--strict", code=1)


def test_a_read_only_login_is_told_apart_and_what_it_lacks_is_named(command_line: CommandLine, reader_url: str) -> None:
    command_line.bind(reader_url)
    done = command_line.run("doctor", "--json", code=5)
    assert "INSERT on locus_checkpoints, locus_parts" in finding(done, "postgresql-privileges")
    assert "reading works and writing is refused" in finding(done, "read-only")
    assert "lacks a privilege" in finding(done, "refused")
    assert "reader-secret-7" not in done.out + done.errors


def test_an_unreachable_server_is_told_apart(command_line: CommandLine) -> None:
    port = free_port()
    command_line.bind(f"postgresql://agent:pw-of-nobody@127.0.0.1:{port}/db")
    done = command_line.run("doctor", "--timeout", "1", "--json", code=4)
    assert f"127.0.0.1:{port}" in finding(done, "unreachable")
    assert "firewall" in finding(done, "unreachable")
    assert "pw-of-nobody" not in done.out + done.errors


def test_a_mistyped_binding_is_told_apart_and_the_right_types_are_named(
    command_line: CommandLine, tmp_path: Path
) -> None:
    document: dict[str, object] = {"version": 1, "type": "postgres", "password": "pw-mistyped"}
    done = command_line.run("doctor", "--json", code=3, environment=write_binding(tmp_path / "bindings", document))
    assert "'postgresql'" in finding(done, "bad-binding")
    assert "pw-mistyped" not in done.out + done.errors


def test_no_binding_at_all_says_where_it_looked(command_line: CommandLine) -> None:
    done = command_line.run("doctor", "--json", code=3)
    assert "LOCUS_CHECKPOINT_URL" in finding(done, "no-binding")


def test_a_rejected_login_is_told_apart(command_line: CommandLine, postgresql_database: Database) -> None:
    command_line.bind(postgresql_database.dsn("nobody_knows", "pw-rejected"))
    done = command_line.run("doctor", "--json", code=5)
    assert "is rejected" in finding(done, "refused")
    assert "read-only" not in codes(done)
    assert "pw-rejected" not in done.out + done.errors


def test_provisioned_tables_that_are_missing_are_named(command_line: CommandLine, postgresql_url: str) -> None:
    command_line.bind(f"{postgresql_url}&tables=provisioned")
    done = command_line.run("doctor", "--json", code=5)
    assert "locus_threads" in finding(done, "postgresql-no-tables")


def test_memory_and_a_file_store_in_memory_are_warned_of(command_line: CommandLine) -> None:
    command_line.bind("memory:")
    assert finding(command_line.run("doctor", "--json"), "memory").startswith("warning")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        command_line.bind(f"file://{directory}/threads")
        done = command_line.run("doctor", "--json")
    assert "tmpfs" in finding(done, "ephemeral-file-system")


def test_what_is_no_directory_is_an_error(command_line: CommandLine) -> None:
    command_line.bind("file:///dev/null")
    done = command_line.run("doctor", "--json", code=3)
    assert "no directory" in finding(done, "no-directory")


def test_people_get_findings_with_advice(command_line: CommandLine, reader_url: str) -> None:
    command_line.bind(reader_url)
    text = command_line.run("doctor", code=5).out
    assert "$LOCUS_CHECKPOINT_URL" in text
    assert "ERROR    the login 'reader_" in text
    assert "-> GRANT SELECT, INSERT, UPDATE, DELETE" in text
    assert "the store does NOT work as it should" in text


def test_a_stopped_probe_leaves_nothing_behind(command_line: CommandLine, postgresql_database: Database) -> None:
    url = f"{postgresql_database.dsn()}?schema=locus"
    command_line.bind(url)
    command_line.run("doctor")
    # A lock on the table stops the probe in the middle of a save; after the signal it has to clean up.
    count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'locus-memory' AND wait_event_type = 'Lock'"
    with postgresql_database.server._superuser(postgresql_database.name) as connection:
        connection.autocommit = False
        connection.execute("LOCK TABLE locus.locus_checkpoints IN SHARE MODE")
        process = command_line.start("doctor", "--timeout", "30")
        while postgresql_database.execute(sql.SQL(count))[0][0] == 0:
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        connection.rollback()
    assert command_line.finish(process).code == 143
    assert on(url, lambda checkpointer: checkpointer.list_threads()) == []


def test_redis_says_what_it_would_forget(
    command_line: CommandLine, redis_server: RedisServer, redis_store_url: str
) -> None:
    command_line.bind(f"{redis_store_url}&ttl_seconds=3600")
    with redis_server.client() as client:
        client.config_set("maxmemory", "512mb")
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            done = command_line.run("doctor", "--json")
        finally:
            client.config_set("maxmemory", "0")
            client.config_set("maxmemory-policy", "noeviction")
    assert "allkeys-lru" in finding(done, "redis-evicts")
    assert finding(done, "redis-evicts").startswith("warning")
    facts = done.document(DoctorDocument).facts
    assert (facts["time to live"], facts["append-only file"]) == ("3600 s", "on")
    assert facts["server"].startswith("Valkey 9")
    assert done.document(DoctorDocument).capabilities["ttl"]


def test_an_agents_login_on_redis_may_not_look_and_is_told_so(
    command_line: CommandLine, redis_server: RedisServer, redis_store_url: str
) -> None:
    with redis_server.client() as client:
        client.acl_setuser(
            "agent", enabled=True, passwords=["+pw-of-agent"], keys=["*"], commands=[f"+{c}" for c in ALLOWED]
        )
        try:
            command_line.bind(redis_server.url("agent", "pw-of-agent"))
            done = command_line.run("doctor", "--json")
        finally:
            client.acl_deluser("agent")
    assert {"redis-unseen", "works"} <= codes(done)
    assert "pw-of-agent" not in done.out + done.errors
