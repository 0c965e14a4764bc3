"""Everything that can be set from outside, each with its environment variable `LOCUS_OPERATOR_<NAME>`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class InvalidSettingsError(ValueError):
    """Variables of the environment are out of bounds; the message has their names."""


class LogFormat(StrEnum):
    """How log lines look."""

    JSON = "json"
    TEXT = "text"


class LogLevel(StrEnum):
    """The least severe lines that are written."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


Seconds = Annotated[float, Field(gt=0, le=86_400)]
Port = Annotated[int, Field(ge=1, le=65_535)]
ObjectName = Annotated[str, Field(pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$", max_length=253)]
"""A Kubernetes object; empty for none."""


class Settings(BaseSettings):
    """Settings of controller and webhook.

    Attributes:
        namespace: The operator's own namespace: Secrets of a `CheckpointStoreClass` are there.
        watch_namespaces: Namespaces whose stores are reconciled, comma-separated; empty for all.
        inline_identity: Let stores that bring their own backend use the operator's identity at a cloud, such as its
            workload identity at OCI; otherwise only classes may. Only where everybody who may create stores is trusted.
        workers: Stores that are worked on at the same time.
        drift_interval_seconds: Pause between two sweeps over all stores, a tenth more or less.
        drift_workers: Stores that a sweep looks at at the same time.
        connections_per_endpoint: Most connections that the controller has to one server.
        missing_retry_seconds: First pause while a Secret or class that the spec names is missing or incomplete;
            it costs a few requests to the API server and nothing on the backend. Doubles with each try.
        missing_retry_max_seconds: Longest such pause.
        refused_retry_seconds: First pause after the backend refused, for a person has to act first. Doubles.
        refused_retry_max_seconds: Longest such pause.
        unavailable_retry_seconds: First pause while the backend is away. Doubles.
        unavailable_retry_max_seconds: Longest such pause.
        leader_election: Of several controllers one works, the holder of a Lease; false where there is only one.
        lease_name: Name of the Lease, in the operator's namespace.
        lease_seconds: How long a Lease lasts that is not renewed: a dead controller is followed after it.
        health_host: Address of probes and metrics, `/healthz`, `/readyz` and `/metrics` over HTTP.
        health_port: Their port on the controller.
        webhook_health_port: Their port on the webhook.
        webhook_host: Address on which the webhook listens.
        webhook_port: Its port, HTTPS.
        webhook_certificate: PEM certificate chain of the webhook; a replaced file is noticed.
        webhook_key: PEM private key of it.
        webhook_watch: Watch the stores. Without, the webhook needs no cluster, and takes all stores for the default
            ones: no `spec.pods`, no `spec.bindingSecretName`, no files.
        webhook_farewell_seconds: How long the webhook goes on answering after SIGTERM. A pod that is being deleted is
            called until every node has heard of it; a pod whose admission finds nobody gets no binding.
        webhook_certificate_secret: Secret in the operator's namespace in which the controller keeps a certificate for
            the webhook; empty where something else makes it, such as cert-manager.
        webhook_configuration: The `MutatingWebhookConfiguration` whose `caBundle` follows it.
        webhook_service: The webhook's Service, in the operator's namespace: whom the certificate is for.
        webhook_certificate_days: How long each certificate is valid. A new one is made after two thirds of it, so a
            third is left for the webhook's pods to get it, which takes them up to two minutes.
        log_format: `json`, one object a line, or `text`.
        log_level: `DEBUG`, `INFO`, `WARNING` or `ERROR`.
    """

    model_config = SettingsConfigDict(env_prefix="LOCUS_OPERATOR_", frozen=True, extra="ignore")

    namespace: str = Field("locus-system", min_length=1)
    watch_namespaces: Annotated[tuple[str, ...], NoDecode] = ()
    inline_identity: bool = False
    workers: int = Field(10, ge=1, le=1000)
    drift_interval_seconds: Seconds = 600
    drift_workers: int = Field(4, ge=1, le=1000)
    connections_per_endpoint: int = Field(10, ge=2, le=1000)

    missing_retry_seconds: Seconds = 5
    missing_retry_max_seconds: Seconds = 60
    refused_retry_seconds: Seconds = 60
    refused_retry_max_seconds: Seconds = 300
    unavailable_retry_seconds: Seconds = 1
    unavailable_retry_max_seconds: Seconds = 60

    leader_election: bool = True
    lease_name: str = Field("locus-operator", pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)
    lease_seconds: int = Field(15, ge=3, le=600)

    health_host: str = "0.0.0.0"  # noqa: S104 - a probe reaches a pod through the pod's address
    health_port: Port = 8080
    webhook_health_port: Port = 8081
    webhook_host: str = "0.0.0.0"  # noqa: S104 - a server in a pod is reached through the pod's address
    webhook_port: Port = 9443
    webhook_certificate: Path = Path("/etc/locus-operator/tls/tls.crt")
    webhook_key: Path = Path("/etc/locus-operator/tls/tls.key")
    webhook_watch: bool = True
    webhook_farewell_seconds: float = Field(5, ge=0, le=600)
    webhook_certificate_secret: ObjectName = ""
    webhook_configuration: ObjectName = ""
    webhook_service: ObjectName = ""
    webhook_certificate_days: float = Field(90, ge=0.0001, le=3650)

    log_format: LogFormat = LogFormat.JSON
    log_level: LogLevel = LogLevel.INFO

    @field_validator("watch_namespaces", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _certificate_is_for_something(self) -> Self:
        if self.webhook_certificate_secret:
            for name in ("webhook_configuration", "webhook_service"):
                if not getattr(self, name):
                    raise ValueError(f"write {_variable(name)} beside {_variable('webhook_certificate_secret')}")
        return self

    @model_validator(mode="after")
    def _pauses_grow(self) -> Self:
        for name in ("missing", "refused", "unavailable"):
            first, longest = getattr(self, f"{name}_retry_seconds"), getattr(self, f"{name}_retry_max_seconds")
            if first > longest:
                longer = _variable(f"{name}_retry_max_seconds")
                raise ValueError(f"write {longer} no shorter than {_variable(f'{name}_retry_seconds')} ({first:g})")
        return self


def read_settings() -> Settings:
    """Return the settings of the environment.

    Raises:
        InvalidSettingsError: Some are out of bounds.
    """
    try:
        return Settings()
    except ValidationError as error:
        raise InvalidSettingsError("; ".join(map(_complaint, error.errors()))) from None


def _complaint(details: ErrorDetails) -> str:
    said = details["msg"].removeprefix("Value error, ")
    # What two of them say together names both.
    name = next((str(part) for part in details["loc"]), "")
    return f"{_variable(name)}: {said}" if name else said


def _variable(name: str) -> str:
    return f"LOCUS_OPERATOR_{name.upper()}"
