"""A conversation of two days: the examples, on real servers, from YAML to an answer out of another pod's memory."""

import asyncio
import base64
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
import yaml
from locus.core.messages import Role
from psycopg import errors as pg
from psycopg import sql

from hack.demo.stage import AGENT_IMAGE, EXAMPLES, agent_image
from locus_memory.binding import DirectoryBinding
from locus_memory.connection import PostgreSQLConnection, RedisConnection, parse_document
from locus_memory.opening import open_checkpointer
from tests.e2e.control_plane import ControlPlane
from tests.e2e.conversations import ASKED, THREAD, TOLD, Day, play_both_days
from tests.e2e.operator_process import Controller
from tests.e2e.test_node.launcher import NodeProcess
from tests.servers.postgresql import PostgreSQLServer
from tests.servers.redis import RedisServer
from tests.servers.report import ServerReport

Object = dict[str, Any]
ADMIN = "locus_admin"


@dataclass(frozen=True)
class Conversation:
    """A store, and the two days of the agent on it."""

    store: Object
    binding: dict[str, str]
    first: Day
    second: Day

    @property
    def store_name(self) -> str:
        return str(self.store["metadata"]["name"])


@pytest.fixture(scope="module")
def agents_postgresql(
    server_report: ServerReport, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PostgreSQLServer]:
    """A server that writes down who logs in."""
    log = tmp_path_factory.mktemp("logs") / "agents_postgresql.log"
    with PostgreSQLServer(log=log, settings={"log_connections": "on"}) as server:
        server_report.started("agents_postgresql", server.product, server.version)
        yield server


@pytest.fixture(scope="module")
def deployed(
    control_plane: ControlPlane,
    test_node: NodeProcess,
    operator: Controller,
    agents_namespace: str,
    agents_postgresql: PostgreSQLServer,
    redis_server: RedisServer,
) -> Iterator[str]:
    """The examples, applied in one go with the addresses of our servers; returns their namespace."""
    test_node.add_images({AGENT_IMAGE: agent_image()})
    password = secrets.token_urlsafe(16)
    agents_postgresql.create_database("agents").create_admin(ADMIN, password)
    logins = {"postgresql-admin": (ADMIN, password), "redis-admin": ("default", redis_server.password)}
    for name, (user, secret) in logins.items():
        literals = (f"--from-literal=username={user}", f"--from-literal=password={secret}")
        control_plane.kubectl("create", "secret", "generic", name, f"--namespace={agents_namespace}", *literals)
    objects = [*example("02-stores.yaml"), *example("03-agents.yaml")]
    for each in objects:
        each["metadata"]["namespace"] = agents_namespace
        for kind, backend in each["spec"].get("backend", {}).items():
            if kind == "postgresql":
                backend["port"] = agents_postgresql.port
            else:
                backend["addresses"] = [f"{redis_server.host}:{redis_server.port}"]
    control_plane.apply(*objects)
    control_plane.kubectl(
        "wait", "cps", "--all", f"--namespace={agents_namespace}", "--for=condition=Ready", "--timeout=60s"
    )
    yield agents_namespace
    # While everything is there that the operator cleans up with.
    control_plane.kubectl("delete", "cps", "--all", f"--namespace={agents_namespace}", "--timeout=30s")


@pytest.fixture(scope="module", params=["postgresql", "redis"])
def conversation(request: pytest.FixtureRequest, control_plane: ControlPlane, deployed: str) -> Conversation:
    """Both days, played once for all tests of a backend."""
    agent, store = f"agent-{request.param}", f"conversations-{request.param}"
    first, second = play_both_days(control_plane, deployed, agent)
    secret = control_plane.get("secret", f"{store}-binding", deployed)
    return Conversation(
        store=control_plane.get("cps", store, deployed),
        binding={key: base64.b64decode(value).decode() for key, value in secret["data"].items()},
        first=first,
        second=second,
    )


def example(name: str) -> list[Object]:
    return list(yaml.safe_load_all((EXAMPLES / name).read_text()))


class TestConversation:
    def test_the_first_day_is_answered_without_any_memory(self, conversation: Conversation) -> None:
        assert conversation.first.log.startswith(f"user:  {TOLD}\n")
        assert conversation.first.answer.startswith("Tokyo!")

    def test_another_pod_answers_from_what_the_first_was_told(self, conversation: Conversation) -> None:
        assert conversation.second.pod_name != conversation.first.pod_name
        assert conversation.second.pod["metadata"]["uid"] != conversation.first.pod["metadata"]["uid"]
        # The second pod's own YAML mentions Tokyo nowhere.
        assert "Tokyo" not in json.dumps(conversation.second.pod["spec"])
        assert conversation.second.answer == f'Your trip to Tokyo. You told me: "{TOLD}"'

    def test_both_days_are_in_the_store(self, conversation: Conversation, tmp_path: Path) -> None:
        for name, value in conversation.binding.items():
            (tmp_path / name).write_text(value)

        async def read() -> tuple[Any, list[str]]:
            async with open_checkpointer(DirectoryBinding(tmp_path)) as checkpointer:
                return await checkpointer.load(THREAD), await checkpointer.list_checkpoints(THREAD)

        state, checkpoints = asyncio.run(read())
        assert [each.content for each in state.messages if each.role is Role.USER] == [TOLD, ASKED]
        # One for each turn: the SDK deletes those of its iterations once the turn is saved.
        assert len(checkpoints) == 2


class TestInjection:
    def test_the_deployments_ask_with_a_label_and_nothing_else(self) -> None:
        for deployment in example("03-agents.yaml"):
            template = deployment["spec"]["template"]
            assert "memory.locus.dev/checkpoint-store" in template["metadata"]["labels"]
            assert "volumes" not in template["spec"]
            variables = {each["name"] for each in template["spec"]["containers"][0]["env"]}
            assert variables == {"THREAD_ID", "MESSAGE"}

    def test_pods_have_the_binding_and_no_other_secret_of_the_store(self, conversation: Conversation) -> None:
        store = conversation.store_name
        for day in (conversation.first, conversation.second):
            assert day.pod["metadata"]["annotations"]["memory.locus.dev/injected"] == store
            volumes = {
                each["name"]: each["secret"]["secretName"] for each in day.pod["spec"]["volumes"] if "secret" in each
            }
            mounts = {each["mountPath"]: each for each in day.container["volumeMounts"]}
            mount = mounts[f"/bindings/{store}"]
            assert (volumes[mount["name"]], mount["readOnly"]) == (f"{store}-binding", True)
            assert "admin" not in json.dumps(day.pod["spec"])
            variables = {each["name"]: each["value"] for each in day.container["env"]}
            assert variables["SERVICE_BINDING_ROOT"] == "/bindings"
            assert variables["LOCUS_CHECKPOINT_STORE"] == store


class TestLogin:
    def test_the_binding_holds_the_issued_login_not_the_administrators(self, conversation: Conversation) -> None:
        claims = conversation.store["status"]["claims"]
        assert conversation.binding["username"] == claims["logins"][0]
        assert conversation.binding["username"] not in (ADMIN, "default")
        assert parse_document(conversation.binding["connection.json"]).tables == "provisioned"

    @pytest.mark.parametrize("conversation", ["postgresql"], indirect=True)
    def test_agents_log_in_with_it(self, conversation: Conversation, agents_postgresql: PostgreSQLServer) -> None:
        lines = agents_postgresql.log.read_text().splitlines()
        logins = [each for each in lines if "connection authorized" in each and "application_name=locus-memory" in each]
        assert len(logins) >= 2
        assert all(f"user={conversation.binding['username']} " in each for each in logins)

    @pytest.mark.parametrize("conversation", ["postgresql"], indirect=True)
    def test_on_postgresql_it_can_write_rows_and_nothing_else(self, conversation: Conversation) -> None:
        document = parse_document(conversation.binding["connection.json"])
        assert isinstance(document, PostgreSQLConnection)
        refused = (
            "CREATE TABLE {}.mine (a int)",
            "ALTER TABLE {}.locus_threads ADD COLUMN mine int",
            "DROP TABLE {}.locus_threads",
            "TRUNCATE {}.locus_checkpoints",
            "DROP SCHEMA {} CASCADE",
            "CREATE SCHEMA mine",
            "CREATE TABLE public.mine (a int)",
            "CREATE ROLE mine",
            "SELECT rolpassword FROM pg_authid",
        )
        schema = sql.Identifier(document.schema_name)
        with psycopg.connect(
            host=document.host,
            port=document.port,
            dbname=document.database,
            user=conversation.binding["username"],
            password=conversation.binding["password"],
            autocommit=True,
        ) as connection:
            count = sql.SQL("SELECT count(*) FROM {}.locus_checkpoints").format(schema)
            assert connection.execute(count).fetchone() == (2,)
            for statement in refused:
                with pytest.raises(pg.InsufficientPrivilege):
                    connection.execute(sql.SQL(statement).format(schema))

    @pytest.mark.parametrize("conversation", ["redis"], indirect=True)
    def test_on_redis_it_reaches_its_own_keys_only(self, conversation: Conversation, redis_server: RedisServer) -> None:
        document = parse_document(conversation.binding["connection.json"])
        assert isinstance(document, RedisConnection)
        with redis_server.client() as administrator:
            administrator.set("somebody:else", "secret")
            assert list(administrator.scan_iter(f"{document.key_prefix}t:*"))
        login = redis_server.url(conversation.binding["username"], conversation.binding["password"])
        with redis.Redis.from_url(login) as client:
            assert client.hgetall(f"{document.key_prefix}t:nobody") == {}, "its own keys are open to it"
            for command in (
                ["HGET", "somebody:else", "field"],
                ["EVAL", "return redis.call('HGET', 'somebody:else', 'field')", "0"],
                ["KEYS", "*"],
                ["SCAN", "0"],
                ["FLUSHALL"],
                ["CONFIG", "GET", "*"],
                ["ACL", "LIST"],
                ["UNLINK", f"{document.key_prefix}claim"],
            ):
                with pytest.raises(redis.exceptions.ResponseError, match=r"NOPERM|permission"):
                    client.execute_command(*command)
