"""The platform's model providers: a file of the chart, or OPENAI_* on one machine. Never an address from a tenant."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from codex_worker.errors import MissingProviderKey, UnknownProvider

EVERY_NAMESPACE = "*"
_CONFIG = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


def _decimal_text(value: object) -> object:
    """Refuse a number: a YAML float has lost its digits already."""
    if isinstance(value, float | int):
        raise ValueError("is a number; write it in quotes, as a decimal string")
    return value


Price = Annotated[Decimal, BeforeValidator(_decimal_text), Field(ge=0, allow_inf_nan=False)]


class Prices(BaseModel):
    """Per million tokens, in a currency of the platform's choice; spec.limits.maxCost counts in the same."""

    model_config = _CONFIG

    input: Price
    cached_input: Price
    output: Price


class ModelSettings(BaseModel):
    """What the platform knows better of a model than its name tells."""

    model_config = _CONFIG

    context_window: int | None = Field(default=None, ge=1024)
    """Tokens of input and output together."""
    prices: Prices | None = None


class Provider(BaseModel):
    model_config = _CONFIG

    base_url: str
    api_key_file: Path | None = None
    """Read at every call, so that a Secret that comes late or changes needs no restart."""
    api_key: str | None = Field(default=None, repr=False)
    """Only from the environment of a local worker, never from the file."""
    default_model: str = "gpt-4o"
    namespaces: list[str] = [EVERY_NAMESPACE]
    models: dict[str, ModelSettings] = {}
    """By the model's exact name."""

    def model(self, name: str) -> ModelSettings:
        return self.models.get(name, ModelSettings())

    def key(self) -> str:
        """Return the API key; raises MissingProviderKey."""
        if self.api_key:
            return self.api_key
        try:
            key = self.api_key_file.read_text().strip() if self.api_key_file else ""
        except OSError:
            key = ""
        if not key:
            raise MissingProviderKey(f"no API key in {self.api_key_file or 'OPENAI_API_KEY'}")
        return key


class Providers(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    providers: dict[str, Provider]

    @classmethod
    def read(cls, path: Path) -> Providers:
        """Read the chart's providers.yaml; raises pydantic.ValidationError, OSError, yaml.YAMLError."""
        return cls.model_validate(yaml.safe_load(path.read_text()))

    def select(self, name: str, namespace: str) -> Provider:
        """Return the provider a session may use; raises UnknownProvider, which names the cure."""
        provider = self.providers.get(name)
        if provider is None:
            known = ", ".join(sorted(self.providers)) or "none"
            raise UnknownProvider(
                f"no model provider {name!r} is configured (there are: {known}); "
                "a platform administrator adds it to the chart's value providers"
            )
        if EVERY_NAMESPACE not in provider.namespaces and namespace not in provider.namespaces:
            raise UnknownProvider(
                f"model provider {name!r} may not be used in namespace {namespace!r}; "
                "a platform administrator adds the namespace to providers.<name>.namespaces"
            )
        return provider
