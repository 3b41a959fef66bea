"""What is sent to the model for a step, made of the transcript. Pure, and the same bytes for the same prefix."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from codex_api.rows import MessagePayload, SessionSettings
from codex_worker.providers import Provider
from codex_worker.reply import user_message_item
from codex_worker.responses.request import ModelRequest
from codex_worker.tools.schemas import tool_definitions
from codex_worker.transcript import Transcript


@cache
def base_instructions() -> str:
    return resources.files("codex_worker.prompts").joinpath("base_instructions.md").read_text()


def model_request(
    *,
    session: str,
    settings: SessionSettings,
    provider: Provider,
    transcript: Transcript,
    messages: Mapping[int, MessagePayload],
) -> ModelRequest:
    """Build the request: stored items first, newly admitted messages last, so that the prefix stays cached.

    Raises MissingProviderKey.
    """
    items: list[dict[str, Any]] = transcript.items()
    items += [user_message_item(message.text) for _, message in sorted(messages.items())]
    return ModelRequest(
        base_url=provider.base_url,
        api_key=provider.key(),
        session=session,
        model=settings.model or provider.default_model,
        instructions=base_instructions(),
        input=items,
        tools=_tools(),
        reasoning_effort=settings.reasoning_effort.value if settings.reasoning_effort else None,
        max_output_tokens=settings.max_tokens - transcript.tokens,
    )


@cache
def _tools() -> list[dict[str, Any]]:
    return tool_definitions()
