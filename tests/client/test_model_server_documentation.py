"""The scripts printed in docs/model-server.md do what the page says."""

import re
from pathlib import Path
from typing import Any

import openai
import pytest

from codex_client.model_server.script import Conversation
from codex_client.model_server.script_file import ScriptError, parse_script
from codex_client.model_server.testing import ScriptedModel

PAGE = (Path(__file__).parents[2] / "docs" / "model-server.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
PROMPTS = {"tests fail": "The tests fail, why?", "(?i)slow": "Be slow.", "a long task": "Do a long task.", None: "Any"}


def prompt_for(conversation: Conversation) -> str:
    return PROMPTS[conversation.match.prompt or conversation.match.regex]


async def play(model: ScriptedModel, conversation: Conversation, name: str) -> list[str | None]:
    """Talk until every reply was given; returns their texts and answers each call with ``done``."""
    said: list[str | None] = []
    items: list[Any] = [{"role": "user", "content": prompt_for(conversation)}]
    async with openai.AsyncOpenAI(api_key="any", base_url=model.base_url, max_retries=0) as client:
        for attempt in range(20):
            try:
                response = await client.responses.create(
                    model=name,
                    input=items,
                    tools=[{"type": "custom", "name": "apply_patch"}],
                    include=["reasoning.encrypted_content"],
                    prompt_cache_key="page",
                )
            except (openai.APIStatusError, openai.APIConnectionError, ValueError):
                continue
            if not hasattr(response, "output") or response.status == "failed":
                continue
            said.append(response.output_text)
            items += [item.to_dict() for item in response.output]
            calls = [item for item in response.output if item.type in ("function_call", "custom_tool_call")]
            items += [{"type": f"{call.type}_output", "call_id": call.call_id, "output": "done"} for call in calls]
            items += [] if calls else [{"role": "user", "content": f"Go on, {attempt}."}]
            if len(said) == len(conversation.replies):
                return said
    raise AssertionError(f"the model said only {said}")


def test_the_page_has_examples() -> None:
    assert len(EXAMPLES) == 4


@pytest.mark.parametrize("text", EXAMPLES)
async def test_every_example_is_played_to_its_end(text: str) -> None:
    script = parse_script(text)
    async with ScriptedModel() as model:
        model.server.script = script
        for conversation in script.conversations:
            said = await play(model, conversation, (script.models or ["any"])[0])
            for reply, spoken in zip(conversation.replies, said, strict=True):
                expected = (reply.text or "").replace("{{prompt}}", prompt_for(conversation))
                expected = expected.replace("{{last_output}}", "done")
                cut = any(fault.incomplete for fault in reply.fail)
                assert spoken == (expected[: len(expected) // 2] if cut else expected)


async def test_the_failures_of_the_example_happen_in_the_order_written() -> None:
    (text,) = [example for example in EXAMPLES if "failed_code" in example]
    async with ScriptedModel() as model:
        model.server.script = parse_script(text)
        await play(model, model.server.script.conversations[0], "any")
        kinds = [request.fault for request in model.requests]
    assert kinds == ["status", "after_events", "after_events", "failed_code", "garbage", None, "incomplete"]


def test_the_mistake_shown_is_reported_as_shown() -> None:
    wrong = "conversations:\n  - match: always\n    replies:\n      - {text: hi, delay: 3}\n"
    with pytest.raises(ScriptError) as caught:
        parse_script(wrong, "wrong.yaml")
    assert str(caught.value) in PAGE
