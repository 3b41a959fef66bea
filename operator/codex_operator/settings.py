"""Settings of the operator process, read from the environment by ``__main__`` only."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from codex_api.names import DEFAULT_TASK_QUEUE


class ApprovalAdmission(StrEnum):
    """How far the cluster's admission policies vouch for who decided."""

    REQUIRED = "required"
    """A decision without the API server's stamp is refused."""
    AUTO = "auto"
    OFF = "off"


class Isolation(StrEnum):
    REQUIRED = "Required"
    """Commands wait until the sandbox has shown that it is isolated."""
    REPORTED = "Reported"


def parse_labels(value: object) -> object:
    """Parse ``k=v,k=v``; raises ValueError for an item without ``=``."""
    if not isinstance(value, str):
        return value
    labels: dict[str, str] = {}
    for item in filter(None, (part.strip() for part in value.split(","))):
        key, separator, label = item.partition("=")
        if not separator or not key:
            raise ValueError(f"{item!r} is not of the form label=value")
        labels[key] = label
    return labels


def parse_list(value: object) -> object:
    if not isinstance(value, str):
        return value
    return [part.strip() for part in value.split(",") if part.strip()]


def parse_json(value: object) -> object:
    """Parse a JSON object; an empty value is an empty object. Raises ValueError for anything else."""
    return value if not isinstance(value, str) else json.loads(value or "{}")


class PreparingSettings(BaseSettings):
    """What ``codex-temporal-operator prepare`` needs: the cluster and the names of two Secrets."""

    model_config = SettingsConfigDict(frozen=True, populate_by_name=True, extra="ignore")

    system_namespace: str = Field(default="codex-system", validation_alias="CODEX_SYSTEM_NAMESPACE")
    ca_secret: str = Field(default="codex-ca", validation_alias="CODEX_CA_SECRET")
    worker_tls_secret: str = Field(default="codex-worker-tls", validation_alias="CODEX_WORKER_TLS_SECRET")
    kubeconfig: Path | None = Field(default=None, validation_alias="KUBECONFIG")
    """Only outside a cluster."""
    log_level: str = Field(default="INFO", validation_alias="LOG_LEVEL")


class Settings(PreparingSettings):
    temporal_address: str = Field(default="http://localhost:7233", validation_alias="TEMPORAL_ADDRESS")
    temporal_namespace: str = Field(default="default", validation_alias="TEMPORAL_NAMESPACE")
    task_queue: str = Field(default=DEFAULT_TASK_QUEUE, validation_alias="CODEX_TASK_QUEUE")

    database_url: str = Field(validation_alias="CODEX_DATABASE_URL")
    database_password_file: Path | None = Field(default=None, validation_alias="CODEX_DATABASE_PASSWORD_FILE")

    sandbox_image: str = Field(validation_alias="CODEX_SANDBOX_IMAGE")
    """Image of sandboxes whose session names none."""
    supervisor_image: str = Field(validation_alias="CODEX_SUPERVISOR_IMAGE")
    """Image that holds the supervisor; other images get it copied in."""
    sandbox_port: int = Field(default=7443, validation_alias="CODEX_SANDBOX_PORT")
    sandbox_isolation: Isolation = Field(default=Isolation.REQUIRED, validation_alias="CODEX_SANDBOX_ISOLATION")
    sandbox_probes: Annotated[tuple[str, ...], NoDecode, BeforeValidator(parse_list)] = Field(
        default=(), validation_alias="CODEX_SANDBOX_PROBES"
    )
    """``name=host:port`` of addresses that no sandbox may reach, besides the API server."""
    sandbox_resources: Annotated[dict[str, dict[str, str]], NoDecode, BeforeValidator(parse_json)] = Field(
        default_factory=dict, validation_alias="CODEX_SANDBOX_RESOURCES"
    )
    """Default ``requests`` and ``limits``, Kubernetes quantities."""
    worker_selector: Annotated[dict[str, str], NoDecode, BeforeValidator(parse_labels)] = Field(
        default_factory=dict, validation_alias="CODEX_WORKER_SELECTOR"
    )
    """Labels of the only pods that may connect to sandboxes."""
    approval_admission: ApprovalAdmission = Field(
        default=ApprovalAdmission.REQUIRED, validation_alias="CODEX_APPROVAL_ADMISSION"
    )

    kubernetes_service_host: str = Field(default="", validation_alias="KUBERNETES_SERVICE_HOST")
    kubernetes_service_port: int = Field(default=443, validation_alias="KUBERNETES_SERVICE_PORT")

    metrics_port: int = Field(default=9090, validation_alias="METRICS_PORT")
    health_port: int = Field(default=8080, validation_alias="HEALTH_PORT")

    @property
    def temporal_target(self) -> str:
        """The address as ``host:port``, whether it was given as an URL or so."""
        return urlsplit(self.temporal_address).netloc if "://" in self.temporal_address else self.temporal_address

    @property
    def probes(self) -> tuple[str, ...]:
        """All probes of a sandbox; the API server's only where its address is known, as it is inside a cluster."""
        if not self.kubernetes_service_host:
            return self.sandbox_probes
        host = self.kubernetes_service_host
        host = f"[{host}]" if ":" in host else host
        return (f"api-server={host}:{self.kubernetes_service_port}", *self.sandbox_probes)

    def database_password(self) -> str | None:
        return self.database_password_file.read_text().strip() if self.database_password_file else None


def settings_from_environment(**overrides: Any) -> Settings:
    """Read the environment; raises pydantic.ValidationError naming the variable that is missing or wrong."""
    return Settings(**overrides)
