"""The migration program's settings, from the environment."""

from __future__ import annotations

from pathlib import Path

from pydantic_settings import BaseSettings, SettingsConfigDict

from codex_journal.roles import Role, Roles


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="CODEX_DATABASE_")

    url: str
    """SQLAlchemy URL, of the owner's role on PostgreSQL."""
    password_file: Path | None = None
    operator_role: str | None = None
    operator_password_file: Path | None = None
    """None: the role exists already."""
    worker_role: str | None = None
    worker_password_file: Path | None = None

    def password(self) -> str | None:
        return _secret(self.password_file)

    def roles(self) -> Roles | None:
        """Return both roles, or None where neither is named; raises ValueError for only one."""
        if self.operator_role is None and self.worker_role is None:
            return None
        if not self.operator_role or not self.worker_role or self.operator_role == self.worker_role:
            raise ValueError("CODEX_DATABASE_OPERATOR_ROLE and CODEX_DATABASE_WORKER_ROLE: name two different roles")
        return Roles(
            operator=Role(self.operator_role, _secret(self.operator_password_file)),
            worker=Role(self.worker_role, _secret(self.worker_password_file)),
        )


def _secret(path: Path | None) -> str | None:
    return None if path is None else path.read_text().strip()
