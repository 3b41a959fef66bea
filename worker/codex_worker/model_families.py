"""What is known of models by their names: instructions, window, and what a request to them may hold. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources


@dataclass(frozen=True)
class ModelFamily:
    name: str
    pattern: re.Pattern[str]
    """Searched for at the beginning of the model's name, after the last slash of a router's prefix."""
    instructions: str
    """File in codex_worker.prompts."""
    context_window: int
    """Tokens of input and output together; a provider's configuration may say otherwise."""
    freeform_patch: bool = False
    """Whether the model was trained to send patches as free text, not as an argument of a function."""
    encrypted_reasoning: bool = True
    """Models that do not reason refuse requests that ask for it."""
    reasoning_summaries: bool = False


_FAMILIES = (
    ModelFamily(
        name="gpt-5-codex",
        pattern=re.compile(r"gpt-5[\w.]*-codex|codex-"),
        instructions="gpt_5_codex.md",
        context_window=272_000,
        freeform_patch=True,
        reasoning_summaries=True,
    ),
    ModelFamily(
        name="gpt-5",
        pattern=re.compile(r"gpt-5(?!.*chat)"),
        instructions="gpt_5.md",
        context_window=272_000,
        freeform_patch=True,
        reasoning_summaries=True,
    ),
    ModelFamily(
        name="o-series",
        pattern=re.compile(r"o[1-9](?:-|$)"),
        instructions="other_models.md",
        context_window=200_000,
        reasoning_summaries=True,
    ),
    ModelFamily(
        name="gpt-4.1",
        pattern=re.compile(r"gpt-4\.1"),
        instructions="other_models.md",
        context_window=1_047_576,
        encrypted_reasoning=False,
    ),
    ModelFamily(
        name="without-reasoning",
        pattern=re.compile(r"gpt-4|gpt-3|chatgpt-|gpt-5.*chat"),
        instructions="other_models.md",
        context_window=128_000,
        encrypted_reasoning=False,
    ),
)
_OTHERS = ModelFamily(name="others", pattern=re.compile(""), instructions="other_models.md", context_window=128_000)


def family_of(model: str) -> ModelFamily:
    """Return the family of a model; a router's prefix such as ``openai/`` does not count."""
    name = model.rpartition("/")[2].lower()
    return next((family for family in _FAMILIES if family.pattern.match(name)), _OTHERS)


@cache
def prompt_text(file: str) -> str:
    """Return a text of codex_worker.prompts without the line end of its file."""
    return resources.files("codex_worker.prompts").joinpath(file).read_text().rstrip("\n")
