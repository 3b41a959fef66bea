"""What is asked of a model, and the request body that asks it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

MIN_OUTPUT_TOKENS = 16  # the API refuses less
# Models refuse a cap above what they can give, which for the smallest in use is this; a larger cap is left out.
MAX_OUTPUT_TOKENS_CAP = 16_384


@dataclass(frozen=True)
class ModelRequest:
    """One stateless request: everything the model is to know is in it."""

    base_url: str
    """Of the provider, for example https://api.openai.com/v1."""
    api_key: str = field(repr=False)
    """Read by the caller for each call, so that a mended or rotated key counts at once."""
    session: str
    """Uid of the session; the provider's prompt cache is looked up by it."""
    model: str
    instructions: str
    input: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]] = ()
    reasoning_effort: str | None = None
    """As the API spells it: low, medium, high."""
    reasoning_summary: str | None = None
    """auto, concise or detailed; None: no summary is asked for."""
    encrypted_reasoning: bool = True
    """Ask for reasoning that can be sent back; models that do not reason refuse that."""
    max_output_tokens: int | None = None
    """What is left of a budget: raised to the API's minimum of 16, left out above 16,384."""
    text_format: Mapping[str, Any] | None = None
    """A JSON schema the final answer must follow, as the API's text.format."""

    @property
    def output_cap(self) -> int | None:
        """What is sent as the API's max_output_tokens."""
        if self.max_output_tokens is None or self.max_output_tokens > MAX_OUTPUT_TOKENS_CAP:
            return None
        return max(MIN_OUTPUT_TOKENS, self.max_output_tokens)


def request_body(request: ModelRequest) -> dict[str, Any]:
    """Return the JSON body of ``POST /responses``."""
    body: dict[str, Any] = {"model": request.model, "instructions": request.instructions, "input": list(request.input)}
    if request.tools:
        body |= {"tools": list(request.tools), "tool_choice": "auto", "parallel_tool_calls": True}
    body |= {"store": False, "stream": True, "prompt_cache_key": request.session}
    if request.encrypted_reasoning:
        body["include"] = ["reasoning.encrypted_content"]
    reasoning = {"effort": (request.reasoning_effort or "").lower(), "summary": request.reasoning_summary}
    if given := {name: value for name, value in reasoning.items() if value}:
        body["reasoning"] = given
    if request.output_cap is not None:
        body["max_output_tokens"] = request.output_cap
    if request.text_format is not None:
        body["text"] = {"format": dict(request.text_format)}
    return body
