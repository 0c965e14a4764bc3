"""Tenants of a class read what is wrong with their store, and nothing of the platform team's or of other tenants."""

import pytest

from locus_operator.api import InvalidSpecError
from locus_operator.api.rules import FieldError
from locus_operator.conditions import deletion_blocked, failure
from locus_operator.constants import ConditionReason
from locus_operator.disclosure import name_of
from locus_operator.errors import LimitExceededError, ProvisioningError, RefusedError, UnavailableError
from locus_operator.provisioner import Action

TEXT = "admin 'root' of Secret 'platform-admin' at db.internal; claimed by store payroll/salaries (uid 1, cluster 2)"
SECRETS = ("root", "platform-admin", "db.internal", "payroll")


def errors() -> list[Exception]:
    """One error of every kind and reason whose text may be of the platform team."""
    refused = [RefusedError(reason, TEXT) for reason in ConditionReason]
    return [*refused, UnavailableError(TEXT), ProvisioningError(ConditionReason.NOT_SUPPORTED, TEXT), KeyError(TEXT)]


@pytest.mark.parametrize("error", errors(), ids=repr)
def test_tenants_of_a_class_read_our_words_and_who_can_help(error: Exception) -> None:
    found, blocked = failure(error, "shared"), deletion_blocked(error, "shared")
    for text in (found.message, blocked.message, *(each.message for each in found.conditions)):
        assert not [secret for secret in SECRETS if secret in text]
        assert "Ask the platform team: the Events of CheckpointStoreClass 'shared' say more" in text
    assert found.reason == failure(error).reason
    assert found.retry == failure(error).retry


@pytest.mark.parametrize("error", [each for each in errors() if isinstance(each, ProvisioningError)], ids=repr)
def test_the_platform_team_reads_everything(error: Exception) -> None:
    assert failure(error, "shared").detail == TEXT


@pytest.mark.parametrize("error", [each for each in errors() if isinstance(each, ProvisioningError)], ids=repr)
def test_who_brings_a_backend_reads_everything(error: Exception) -> None:
    assert failure(error).message == failure(error).detail == TEXT
    assert TEXT in deletion_blocked(error).message


@pytest.mark.parametrize(
    "error",
    [
        InvalidSpecError((FieldError("spec.x", "write y"),)),
        LimitExceededError((FieldError("spec.x", "write y"),)),
        RefusedError(ConditionReason.CLASS_NOT_FOUND, "spec.x: write y", for_tenants=True),
    ],
)
def test_what_is_wrong_with_the_store_itself_is_told_to_everybody(error: Exception) -> None:
    assert failure(error, "shared").message == "spec.x: write y"


def test_why_something_was_corrected_is_for_the_platform_team() -> None:
    action = Action("alter", "schema", "locus_a_b", "differs: owned by root")
    assert name_of(action, "shared") == "alter schema locus_a_b"
    assert name_of(action, None) == "alter schema locus_a_b: differs: owned by root"
