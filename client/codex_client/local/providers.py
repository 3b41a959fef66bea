"""Which model a session of this machine speaks to, and whether it can: known before anything starts."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from codex_client.local.config import DEFAULT_MODEL, LocalConfig
from codex_client.local.errors import UsageError

if TYPE_CHECKING:
    from codex_api.rows import SessionSettings
    from codex_worker.providers import Providers

NO_KEY = "no key for the model: set OPENAI_API_KEY (any value where OPENAI_BASE_URL is a server that wants none)"


def require_provider(config: LocalConfig) -> None:
    """Raise UsageError where no request to the model could be made."""
    if config.providers_file is not None:
        return
    if not _is_web_address(config.base_url):
        raise UsageError(f"OPENAI_BASE_URL {config.base_url!r} is no address like https://host/v1")
    if not config.api_key:
        raise UsageError(NO_KEY)


def require_price(config: LocalConfig, settings: SessionSettings) -> None:
    """Raise UsageError where a session's cost is limited but nobody knows the price of its model."""
    if settings.max_cost_millionths is None:
        return
    cure = f"give the prices of model {settings.model} in CODEX_PROVIDERS_FILE, or leave out --max-cost"
    if config.providers_file is None:
        raise UsageError(f"--max-cost needs prices: {cure}")
    provider = local_providers(config).select(settings.provider, "default")
    if provider.model(settings.model or provider.default_model).prices is None:
        raise UsageError(f"--max-cost needs prices: {cure} ({config.providers_file} has none)")


def provider_digest(config: LocalConfig, salt: str) -> str:
    """Return what tells two configurations of the model apart without telling a key; raises UsageError."""
    if config.providers_file is None:
        identity = json.dumps([config.base_url, config.api_key]).encode()
    else:
        try:
            identity = config.providers_file.read_bytes()
        except OSError as error:
            raise UsageError(f"CODEX_PROVIDERS_FILE {config.providers_file}: {error.strerror}") from error
    return hmac.new(salt.encode(), identity, hashlib.sha256).hexdigest()


def secret_files(config: LocalConfig) -> list[Path]:
    """Return the files that hold keys of providers, and the one that names them; raises UsageError."""
    if config.providers_file is None:
        return []
    keys = [provider.api_key_file for provider in local_providers(config).providers.values()]
    return [config.providers_file, *(path for path in keys if path is not None)]


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


def _is_web_address(text: str) -> bool:
    try:
        address = urlsplit(text)
    except ValueError:
        return False
    return address.scheme in ("http", "https") and bool(address.hostname)
