"""The health checks in docs/gitops.md, run as they stand there, say what each status means."""

import json
import re
from datetime import UTC, datetime
from typing import Any

import celpy
import pytest
import redis
import yaml
from celpy.adapter import json_to_cel
from celpy.evaluation import CELEvalError

from locus_operator.api import CheckpointStoreStatus
from locus_operator.api.status import ConditionStatus
from locus_operator.conditions import ConditionState
from locus_operator.constants import ConditionReason, ConditionType
from locus_operator.controller.status import merge_conditions, to_body
from tests.e2e.control_plane import REPOSITORY
from tests.servers.redis import RedisServer

LUA, FLUX = re.findall(r"```yaml\n(.*?)```", (REPOSITORY / "docs/gitops.md").read_text(), re.DOTALL)
NOW = datetime(2026, 11, 1, tzinfo=UTC)
PASSES = frozenset(
    {
        ConditionReason.PROGRESSING,
        ConditionReason.BACKEND_UNAVAILABLE,
        ConditionReason.SECRET_NOT_FOUND,
        ConditionReason.CLASS_NOT_FOUND,
        ConditionReason.CLASS_NOT_READY,
        ConditionReason.VOLUME_CLAIM_NOT_FOUND,
        ConditionReason.DELETING,
    }
)
"""Reasons for which `Ready` is false, and nobody has to correct the store."""
NEVER_FALSE = frozenset(
    {
        ConditionReason.READY,
        ConditionReason.PROVISIONED,
        ConditionReason.CREDENTIALS_ISSUED,
        ConditionReason.RETENTION_APPLIED,
        ConditionReason.NO_RETENTION,
        ConditionReason.SUSPENDED,
    }
)
NEEDS_A_PERSON = sorted(frozenset(ConditionReason) - PASSES - NEVER_FALSE)


def store(*states: ConditionState, observed: int = 3) -> dict[str, Any]:
    """A store of generation 3, as the API server has it."""
    conditions = merge_conditions((), states, observed, NOW)
    status = to_body(CheckpointStoreStatus(observed_generation=observed, conditions=conditions))
    return {"metadata": {"name": "support", "generation": 3}, "status": status}


def ready(status: ConditionStatus, reason: ConditionReason) -> ConditionState:
    return ConditionState(ConditionType.READY, status, reason, "why")


UNSEEN = {"metadata": {"name": "support", "generation": 3}}
BLOCKED = store(
    ready(ConditionStatus.FALSE, ConditionReason.DELETING),
    ConditionState(
        ConditionType.DELETION_BLOCKED, ConditionStatus.TRUE, ConditionReason.BACKEND_UNAVAILABLE, "the server is away"
    ),
)


class TestArgoCD:
    @pytest.fixture
    def valkey(self, redis_server: RedisServer) -> redis.Redis:
        return redis.Redis(port=redis_server.port, password=redis_server.password, decode_responses=True)

    def health(self, valkey: redis.Redis, kubernetes_object: dict[str, Any]) -> dict[str, str]:
        (check,) = yaml.safe_load(LUA).values()
        script = (
            f"local obj = cjson.decode(ARGV[1])\nlocal function check()\n{check}\nend\nreturn cjson.encode(check())"
        )
        return dict(json.loads(str(valkey.eval(script, 0, json.dumps(kubernetes_object)))))

    def test_ready_is_healthy(self, valkey: redis.Redis) -> None:
        found = self.health(valkey, store(ready(ConditionStatus.TRUE, ConditionReason.READY)))
        assert found == {"status": "Healthy", "message": "Ready: why"}

    @pytest.mark.parametrize("status", [ConditionStatus.TRUE, ConditionStatus.FALSE])
    def test_suspended_is_suspended(self, valkey: redis.Redis, status: ConditionStatus) -> None:
        assert self.health(valkey, store(ready(status, ConditionReason.SUSPENDED)))["status"] == "Suspended"

    @pytest.mark.parametrize("reason", sorted(PASSES))
    def test_what_passes_is_progressing(self, valkey: redis.Redis, reason: ConditionReason) -> None:
        assert self.health(valkey, store(ready(ConditionStatus.FALSE, reason)))["status"] == "Progressing"

    @pytest.mark.parametrize("reason", NEEDS_A_PERSON)
    def test_what_needs_a_person_is_degraded(self, valkey: redis.Redis, reason: ConditionReason) -> None:
        found = self.health(valkey, store(ready(ConditionStatus.FALSE, reason)))
        assert found == {"status": "Degraded", "message": f"{reason}: why"}

    def test_a_blocked_deletion_is_degraded(self, valkey: redis.Redis) -> None:
        assert self.health(valkey, BLOCKED) == {"status": "Degraded", "message": "the server is away"}

    def test_a_spec_that_nobody_has_looked_at_is_progressing(self, valkey: redis.Redis) -> None:
        for unseen in (UNSEEN, store(ready(ConditionStatus.TRUE, ConditionReason.READY), observed=2)):
            assert self.health(valkey, unseen)["status"] == "Progressing"

    def test_the_page_says_for_which_kind_it_is(self) -> None:
        assert list(yaml.safe_load(LUA)) == ["resource.customizations.health.memory.locus.dev_CheckpointStore"]


class TestFlux:
    @staticmethod
    def verdict(kubernetes_object: dict[str, Any]) -> str:
        """In the order in which Flux asks; an expression that fails has it wait."""
        (check,) = yaml.safe_load(FLUX)["spec"]["healthCheckExprs"]
        environment = celpy.Environment()
        for name in ("failed", "current"):
            program = environment.program(environment.compile(check[name]))
            try:
                if program.evaluate({key: json_to_cel(value) for key, value in kubernetes_object.items()}):
                    return name
            except CELEvalError:
                continue
        return "waits"

    def test_ready_is_current(self) -> None:
        assert self.verdict(store(ready(ConditionStatus.TRUE, ConditionReason.READY))) == "current"

    def test_a_store_that_was_suspended_while_ready_is_current(self) -> None:
        assert self.verdict(store(ready(ConditionStatus.TRUE, ConditionReason.SUSPENDED))) == "current"

    @pytest.mark.parametrize("reason", sorted({*PASSES, ConditionReason.SUSPENDED}))
    def test_what_passes_is_waited_for(self, reason: ConditionReason) -> None:
        assert self.verdict(store(ready(ConditionStatus.FALSE, reason))) == "waits"

    @pytest.mark.parametrize("reason", NEEDS_A_PERSON)
    def test_what_needs_a_person_fails_at_once(self, reason: ConditionReason) -> None:
        assert self.verdict(store(ready(ConditionStatus.FALSE, reason))) == "failed"

    def test_a_spec_that_nobody_has_looked_at_is_waited_for(self) -> None:
        assert self.verdict(UNSEEN) == "waits"
        assert self.verdict(store(ready(ConditionStatus.TRUE, ConditionReason.READY), observed=2)) == "waits"
