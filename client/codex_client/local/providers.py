"""Which model a session of this machine speaks to, and whether it can: known before anything starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codex_client.local.config import DEFAULT_MODEL, LocalConfig
from codex_client.local.errors import UsageError

if TYPE_CHECKING:
    from codex_worker.providers import Providers

NO_KEY = "no key for the model: set OPENAI_API_KEY (any value where OPENAI_BASE_URL is a server that wants none)"


def require_key(config: LocalConfig) -> None:
    """Raise UsageError where no request to the model could be made."""
    if config.providers_file is None and not config.api_key:
        raise UsageError(NO_KEY)


def local_providers(config: LocalConfig) -> Providers:
    """Return the providers of CODEX_PROVIDERS_FILE, or the one of OPENAI_*; raises UsageError."""
    import yaml
    from pydantic import ValidationError

    from codex_worker.providers import Provider, Providers

    if config.providers_file is None:
        model = config.model or DEFAULT_MODEL
        provider = Provider(base_url=config.base_url, api_key=config.api_key, default_model=model)
        return Providers(providers={"default": provider})
    try:
        return Providers.read(config.providers_file)
    except (OSError, ValidationError, yaml.YAMLError) as error:
        problem = " ".join(str(error).split())[:300]
        raise UsageError(f"CODEX_PROVIDERS_FILE {config.providers_file} cannot be used: {problem}") from error


def default_model(config: LocalConfig) -> str:
    """Return the model of a session that names none."""
    if config.providers_file is None or config.model:
        return config.model or DEFAULT_MODEL
    return local_providers(config).select("default", "default").default_model
