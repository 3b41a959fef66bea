"""What the environment says about local mode."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from codex_client.local.command_environment import command_environment
from codex_client.local.state_folder import StateFolder

DEFAULT_BASE_URL = "https://api.openai.com/v1"
DEFAULT_MODEL = "gpt-4o"
DEFAULT_LOG_LEVEL = "INFO,httpx2=WARNING"


@dataclass(frozen=True)
class LocalConfig:
    state: StateFolder
    home: Path
    runtime_folder: Path | None
    """XDG_RUNTIME_DIR: where sockets belong; used where it is below /run or /tmp."""
    temporal_address: str | None
    """host:port of a Temporal server to use; None: one of our own."""
    temporal_namespace: str
    base_url: str
    api_key: str | None = field(repr=False)
    model: str | None
    """CODEX_MODEL; None: the provider's default."""
    providers_file: Path | None
    """As a cluster's workers read it: prices, context windows, several providers."""
    log_level: str
    program_path: str
    """PATH of this process, to find programs with."""
    command_environment: Mapping[str, str]
    """What commands of the model see."""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> LocalConfig:
        """Read an environment such as os.environ; a variable that is set to nothing counts as not set."""
        address = environment.get("TEMPORAL_ADDRESS", "")
        providers_file = environment.get("CODEX_PROVIDERS_FILE")
        runtime_folder = environment.get("XDG_RUNTIME_DIR")
        return cls(
            state=StateFolder.of(environment),
            home=Path(environment.get("HOME") or "~").expanduser(),
            runtime_folder=Path(runtime_folder) if runtime_folder else None,
            temporal_address=address.removeprefix("http://").removeprefix("https://").rstrip("/") or None,
            temporal_namespace=environment.get("TEMPORAL_NAMESPACE") or "default",
            base_url=environment.get("OPENAI_BASE_URL") or DEFAULT_BASE_URL,
            api_key=environment.get("OPENAI_API_KEY") or None,
            model=environment.get("CODEX_MODEL") or None,
            providers_file=Path(providers_file) if providers_file else None,
            log_level=environment.get("LOG_LEVEL") or DEFAULT_LOG_LEVEL,
            program_path=environment.get("PATH", ""),
            command_environment=command_environment(environment),
        )
