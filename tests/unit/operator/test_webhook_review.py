"""How the webhook answers, whatever it is asked."""

import logging
from typing import Any

import pytest

from locus_operator.webhook.review import NotAReviewError, review
from tests.unit.operator.pods import make_pod, make_review


def test_the_response_carries_the_uid_and_the_version_of_the_request() -> None:
    document = review(make_review(make_pod()))

    assert document["apiVersion"] == "admission.k8s.io/v1"
    assert document["kind"] == "AdmissionReview"
    assert document["response"]["uid"] == "1-2-3"


def test_a_dry_run_is_answered_alike() -> None:
    pod = make_pod()

    assert review(make_review(pod, dryRun=True)) == review(make_review(pod))


@pytest.mark.parametrize(
    "request_",
    [
        {"operation": "UPDATE"},
        {"operation": "DELETE", "object": None},
        {"subResource": "ephemeralcontainers"},
        {"object": {"kind": "Deployment", "metadata": {}, "spec": {}}},
    ],
)
def test_anything_but_the_creation_of_a_pod_is_allowed_unchanged(request_: dict[str, Any]) -> None:
    response = review(make_review(make_pod(), **request_))["response"]

    assert response == {"uid": "1-2-3", "allowed": True}


@pytest.mark.parametrize(
    "broken", [{"spec": None}, {"spec": {"containers": [{"env": [{}]}]}}, {"metadata": {"labels": "text"}}]
)
def test_a_fault_of_ours_lets_the_pod_through_with_a_warning(
    broken: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        response = review(make_review(make_pod() | broken))["response"]

    assert response["allowed"] is True
    assert "patch" not in response
    assert "internal fault" in response["warnings"][0]
    assert "fault while injecting" in caplog.text


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {"kind": "Pod"},
        {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1beta1", "request": {"uid": "1"}},
        {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1"},
        {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": {}},
    ],
)
def test_what_is_no_review_is_an_error_of_the_caller(document: Any) -> None:
    with pytest.raises(NotAReviewError):
        review(document)


def test_variables_of_the_pod_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    pod = make_pod(container={"env": [{"name": "TOKEN", "value": "hunter2"}, {}]})

    with caplog.at_level(logging.DEBUG):
        review(make_review(pod))

    assert "fault while injecting" in caplog.text
    assert "hunter2" not in caplog.text + str([vars(record) for record in caplog.records])
