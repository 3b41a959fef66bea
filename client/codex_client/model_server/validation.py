"""Checking requests as the real API does, so that a request it would refuse does not pass a test here."""

from __future__ import annotations

from typing import Any

from codex_client.model_server.conversation import Item
from codex_client.model_server.item_validation import check_calls_have_outputs, check_item
from codex_client.model_server.refusals import (
    RequestRefused,
    invalid_type,
    missing_parameter,
    unknown_parameter,
)
from codex_client.model_server.tool_validation import check_text_format, check_tools

MIN_OUTPUT_TOKENS = 16


REQUEST_FIELDS = frozenset(
    {
        "background",
        "client_metadata",
        "context_management",
        "conversation",
        "include",
        "input",
        "instructions",
        "max_output_tokens",
        "max_tool_calls",
        "metadata",
        "model",
        "moderation",
        "parallel_tool_calls",
        "previous_response_id",
        "prompt",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "reasoning",
        "safety_identifier",
        "service_tier",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "text",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "truncation",
        "user",
    }
)


def check_request(request: Any, models: list[str]) -> list[Item]:
    """Return the request's input as a list of items; raises RequestRefused."""
    if not isinstance(request, dict):
        raise RequestRefused("Invalid body: expected a JSON object.")
    for name in request:
        if name not in REQUEST_FIELDS:
            raise unknown_parameter(name)
    model = request.get("model")
    if not isinstance(model, str) or not model:
        raise missing_parameter("model")
    if models and model not in models:
        message = f"The model `{model}` does not exist or you do not have access to it."
        raise RequestRefused(message, status=404, code="model_not_found", param="model")
    limit = request.get("max_output_tokens")
    if limit is not None and (not isinstance(limit, int) or limit < MIN_OUTPUT_TOKENS):
        message = f"Invalid 'max_output_tokens': integer below minimum value. Expected a value >= {MIN_OUTPUT_TOKENS}."
        raise RequestRefused(message, code="integer_below_min_value", param="max_output_tokens")
    if request.get("previous_response_id") is not None:
        message = "Previous response not found: this server keeps no responses."
        raise RequestRefused(message, code="previous_response_not_found", param="previous_response_id")
    check_tools(request.get("tools"))
    check_text_format(request.get("text"))
    items = _items(request.get("input"))
    for index, item in enumerate(items):
        check_item(item, f"input[{index}]")
    check_calls_have_outputs(items)
    return items


def _items(value: Any) -> list[Item]:
    if isinstance(value, str):
        return [{"type": "message", "role": "user", "content": value}]
    if value is None:
        raise missing_parameter("input")
    if not isinstance(value, list):
        raise invalid_type("input", "a string or an array of input items")
    return value
