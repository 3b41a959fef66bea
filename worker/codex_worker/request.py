"""What is sent to the model for a step, made of the transcript. Pure, and the same bytes for the same prefix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from codex_api.rows import SessionSettings
from codex_journal.rows import SessionRecord
from codex_worker.budget import RequestSize, output_allowance
from codex_worker.compaction import USABLE_ANSWER_TOKENS, compacted_items, compaction_prompt
from codex_worker.model_families import ModelFamily, family_of, prompt_text
from codex_worker.providers import Prices, Provider, Providers
from codex_worker.responses.request import ModelRequest
from codex_worker.token_estimates import BYTES_PER_TOKEN, item_tokens
from codex_worker.tools.schemas import tool_definitions
from codex_worker.transcript import Transcript

SCHEMA_NAME = "codex_output_schema"

Item = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """Which model a session asks, and what is known of it."""

    provider: Provider
    model: str
    family: ModelFamily
    context_window: int
    prices: Prices | None

    @property
    def label(self) -> str | None:
        """The model's name where it is the platform's own, which metrics may carry: a tenant may write anything."""
        return self.model if self.model == self.provider.default_model or self.model in self.provider.models else None


def target_of(providers: Providers, record: SessionRecord) -> Target:
    """Return the session's model; raises UnknownProvider."""
    provider = providers.select(record.settings.provider, record.namespace)
    model = record.settings.model or provider.default_model
    family, known = family_of(model), provider.model(model)
    return Target(provider, model, family, known.context_window or family.context_window, known.prices)


def request_size(transcript: Transcript, target: Target, added: Sequence[Item]) -> RequestSize:
    """Estimate a step's request, which adds items to the conversation."""
    tokens, complete = transcript.active_tokens()
    if not complete:
        tokens += _instruction_tokens(target.family) + _tool_tokens(target.family)
    tokens += sum(map(item_tokens, added))
    return RequestSize(tokens, tokens - transcript.counted_tokens)


def compaction_size(transcript: Transcript, target: Target, items: Sequence[Item]) -> RequestSize:
    """Estimate the request for a summary of ``items``, which are the conversation or what is left of it.

    All of it is new: where the tools are missing, no cached prefix fits.
    """
    whole = request_size(transcript, target, [compaction_prompt()]).tokens - _tool_tokens(target.family)
    left_out = sum(map(item_tokens, transcript.items())) - sum(map(item_tokens, items))
    tokens = max(0, whole - left_out)
    return RequestSize(tokens, tokens)


def compaction_and_step_size(transcript: Transcript, target: Target, added: Sequence[Item]) -> RequestSize:
    """Estimate the request for a summary and the step's request after it, together.

    The step adds items to what the summary leaves of the conversation: all the context, too, is told anew.
    """
    kept = compacted_items(transcript.user_messages(), "", target.context_window)
    step = _instruction_tokens(target.family) + _tool_tokens(target.family) + USABLE_ANSWER_TOKENS
    step += sum(map(item_tokens, [*kept, *added]))
    tokens = compaction_size(transcript, target, transcript.items()).tokens + step
    return RequestSize(tokens, tokens)


def model_request(
    record: SessionRecord, target: Target, transcript: Transcript, added: Sequence[Item], size: RequestSize
) -> ModelRequest:
    """Build a step's request: stored items first, what is ``added`` last, so that the prefix stays cached.

    Raises MissingProviderKey.
    """
    request = _request(record, target, transcript, [*sendable(transcript.items()), *added], size)
    return replace(
        request,
        tools=_tools(target.family.freeform_patch),
        reasoning_summary="auto" if target.family.reasoning_summaries else None,
        text_format=text_format(record.settings),
    )


def compaction_request(
    record: SessionRecord, target: Target, transcript: Transcript, items: Sequence[Item], size: RequestSize
) -> ModelRequest:
    """Build the request for a summary of ``items``: the same instructions, no tools. Raises MissingProviderKey."""
    return _request(record, target, transcript, [*sendable(items), compaction_prompt()], size)


def _request(
    record: SessionRecord, target: Target, transcript: Transcript, items: Sequence[Item], size: RequestSize
) -> ModelRequest:
    settings = record.settings
    return ModelRequest(
        base_url=target.provider.base_url,
        api_key=target.provider.key(),
        session=record.session,
        model=target.model,
        instructions=prompt_text(target.family.instructions),
        input=items,
        reasoning_effort=settings.reasoning_effort.value if settings.reasoning_effort else None,
        encrypted_reasoning=target.family.encrypted_reasoning,
        max_output_tokens=output_allowance(settings, transcript.spent, size, target.prices),
    )


def sendable(items: Sequence[Item]) -> list[Item]:
    """Leave out reasoning that came without its encrypted content: nobody stores it, so the API would not find it."""
    return [item for item in items if item.get("type") != "reasoning" or item.get("encrypted_content")]


def text_format(settings: SessionSettings) -> dict[str, Any] | None:
    """Return the API's text.format for the session's output schema."""
    if settings.output_schema is None:
        return None
    return {"type": "json_schema", "strict": True, "name": SCHEMA_NAME, "schema": settings.output_schema}


@cache
def _tools(freeform_patch: bool) -> list[dict[str, Any]]:
    return tool_definitions(freeform_patch)


def _instruction_tokens(family: ModelFamily) -> int:
    return len(prompt_text(family.instructions)) // BYTES_PER_TOKEN


@cache
def _tool_tokens(family: ModelFamily) -> int:
    return sum(map(item_tokens, _tools(family.freeform_patch)))
