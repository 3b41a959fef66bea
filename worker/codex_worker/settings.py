"""The worker's settings, read from the environment by ``__main__`` only."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings

from codex_api.names import DEFAULT_TASK_QUEUE


class WorkerSettings(BaseSettings):
    """Field names are the environment variables' names in lower case."""

    temporal_address: str = "http://localhost:7233"
    temporal_namespace: str = "default"
    codex_task_queue: str = DEFAULT_TASK_QUEUE
    codex_database_url: str
    """postgresql+asyncpg://user@host:5432/database, or sqlite+aiosqlite:///path on one machine."""
    codex_database_password_file: Path | None = None
    codex_providers_file: Path | None = None
    """Without it there is one provider, ``default``, made of the three settings below."""
    openai_api_key: SecretStr | None = None
    openai_base_url: str = "https://api.openai.com/v1"
    codex_model: str = "gpt-4o"
    codex_tls_directory: Path | None = None
    """Holds tls.crt, tls.key and ca.crt; without it only Unix sockets are spoken to."""
    codex_max_concurrent_activities: int = Field(default=100, ge=1)
    codex_max_cached_workflows: int = Field(default=1000, ge=1)
    metrics_port: int = 9090
    log_level: str = "INFO"

    @field_validator("temporal_address")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        return value.removeprefix("http://").removeprefix("https://").rstrip("/")

    def database_password(self) -> str | None:
        file = self.codex_database_password_file
        return file.read_text().strip() if file else None
