"""What a model's name says about requests to it, and the instructions that each family gets."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from codex_api.rows import SessionSettings
from codex_journal.rows import SessionRecord
from codex_worker.model_families import family_of, prompt_text
from codex_worker.providers import Provider, Providers
from codex_worker.request import target_of
from codex_worker.tools.schemas import tool_definitions


@pytest.mark.parametrize(
    ("model", "family", "freeform", "reasoning"),
    [
        ("gpt-5-codex", "gpt-5-codex", True, True),
        ("gpt-5.1-codex-max", "gpt-5-codex", True, True),
        ("codex-mini-latest", "gpt-5-codex", True, True),
        ("gpt-5.4", "gpt-5", True, True),
        ("GPT-5-mini-2025-08-07", "gpt-5", True, True),
        ("openai/gpt-5.2", "gpt-5", True, True),
        ("gpt-5-chat-latest", "without-reasoning", False, False),
        ("o3", "o-series", False, True),
        ("o4-mini", "o-series", False, True),
        ("gpt-4o", "without-reasoning", False, False),
        ("gpt-4.1-mini", "gpt-4.1", False, False),
        ("gpt-oss-120b", "others", False, True),
        ("qwen/qwen3-coder", "others", False, True),
        ("scripted", "others", False, True),
        ("", "others", False, True),
    ],
)
def test_a_name_has_its_family(model: str, family: str, freeform: bool, reasoning: bool) -> None:
    found = family_of(model)
    assert (found.name, found.freeform_patch, found.encrypted_reasoning) == (family, freeform, reasoning)
    assert found.context_window >= 100_000


@pytest.mark.parametrize("model", ["gpt-5-codex", "gpt-5", "something-else"])
def test_every_family_has_instructions_that_name_only_tools_it_is_given(model: str) -> None:
    family = family_of(model)
    text = prompt_text(family.instructions)
    names = {tool["name"] for tool in tool_definitions(family.freeform_patch)}
    assert {"exec_command", "write_stdin", "apply_patch", "update_plan"} <= names
    assert all(f"`{name}`" in text for name in ("exec_command", "write_stdin", "apply_patch", "update_plan"))
    assert not text.endswith("\n")


def record(model: str | None) -> SessionRecord:
    settings = SessionSettings(model=model)
    return SessionRecord("s", "i", "team", "n", settings, 0, 0, False, 0, datetime.now(UTC))


def test_the_platform_knows_better_than_the_name() -> None:
    models = {"gpt-5.4": {"contextWindow": 400_000}, "ours": {"contextWindow": 32_768}}
    provider = Provider.model_validate({"baseUrl": "http://x/v1", "defaultModel": "gpt-5.4", "models": models})
    providers = Providers(providers={"default": provider})
    default, ours, another = (target_of(providers, record(name)) for name in (None, "ours", "gpt-5.2"))
    assert (default.model, default.context_window, default.label) == ("gpt-5.4", 400_000, "gpt-5.4")
    assert (ours.context_window, ours.label) == (32_768, "ours")
    # A name that a tenant made up is no label of the metrics.
    assert (another.context_window, another.label) == (272_000, None)
