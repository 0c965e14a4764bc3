"""The backend goes away, or forgets."""

import json

from tests.e2e.controller.samples import redis_spec
from tests.e2e.operator_process import Stores
from tests.servers.redis import RedisServer


def test_a_binding_outlives_its_backend(stores: Stores, redis_of_its_own: RedisServer) -> None:
    stores.create_secret("admin", password=redis_of_its_own.password)
    stores.apply("support", redis_spec(redis_of_its_own))
    stores.wait("support")
    before = stores.binding("support")

    redis_of_its_own.stop()
    stores.apply("support", redis_spec(redis_of_its_own) | {"retention": {"maxAge": "1d"}})
    stores.wait_for_reason("support", "BackendUnavailable")

    assert stores.binding("support") == before
    assert stores.conditions("support")["CredentialsReady"]["status"] == "True"
    redis_of_its_own.start()
    stores.wait("support")
    assert json.loads(stores.binding("support")["connection.json"])["ttl_seconds"] == 86_400


def test_users_that_a_restart_has_lost_are_made_again(stores: Stores, redis_of_its_own: RedisServer) -> None:
    stores.create_secret("admin", password=redis_of_its_own.password)
    stores.apply("support", redis_spec(redis_of_its_own))
    stores.wait("support")
    before = stores.binding("support")

    redis_of_its_own.reset()
    stores.kubectl("annotate", "cps/support", "look=again")

    assert "ACL user" in stores.wait_for_event("support", "DriftCorrected")
    assert stores.binding("support") == before, "agents keep the password that they have"
