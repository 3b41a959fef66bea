"""Choosing the reply: a pure function of script and request, so that a retry gets the same one."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from codex_client.model_server.conversation import (
    NUMBER_LENGTH,
    STEM_LENGTH,
    Item,
    count_replies,
    first_prompt,
    last_output,
    last_process,
    summary_note,
)
from codex_client.model_server.script import Conversation, Match, Reply, Script


@dataclass(frozen=True)
class Choice:
    conversation: int
    """Index in the script; -1 where none matches."""
    number: int
    """Which reply of the conversation this is, from 0."""
    reply: Reply
    stem: str
    """Hexadecimal; shared by the ids of the response and its items."""
    compaction: bool = False
    """The reply is a summary, which the script does not count among the replies."""


def choose(script: Script, request: dict[str, Any], items: Sequence[Item]) -> Choice:
    """Return the reply to a request whose (normalised) input is ``items``."""
    prompt = first_prompt(items)
    model = str(request.get("model"))
    number = count_replies(items)
    stem = _stem(request, prompt, number)
    for index, conversation in enumerate(script.conversations):
        if not matches(conversation.match, prompt, model):
            continue
        if conversation.compaction is not None and not request.get("tools"):
            return Choice(index, number, _summary(conversation.compaction, prompt, items, number), stem, True)
        return Choice(index, number, _next_reply(conversation, prompt, items, number), stem)
    unknown = f"I am a scripted model, and my script has no conversation for this prompt: {prompt[:200]!r}"
    return Choice(-1, number, Reply(text=unknown), stem)


def _stem(request: dict[str, Any], prompt: str, number: int) -> str:
    identity = "\n".join((str(request.get("prompt_cache_key")), prompt, str(number)))
    digest = hashlib.sha256(identity.encode(errors="replace")).hexdigest()
    return digest[: STEM_LENGTH - NUMBER_LENGTH] + f"{number % 16**NUMBER_LENGTH:0{NUMBER_LENGTH}x}"


def _next_reply(conversation: Conversation, prompt: str, items: Sequence[Item], number: int) -> Reply:
    replies = conversation.replies
    if number < len(replies) or conversation.repeat:
        return fill_in(replies[number % len(replies)], prompt, items)
    return Reply(text=f"The script of this conversation has ended: it holds {len(replies)} replies.")


def _summary(scripted: Reply, prompt: str, items: Sequence[Item], number: int) -> Reply:
    reply = fill_in(scripted, prompt, items)
    # The conversation that begins with this summary goes on with the reply after those it replaces.
    return reply.model_copy(update={"text": f"{reply.text or ''}\n{summary_note(number)}".lstrip("\n")})


def matches(match: Match, prompt: str, model: str) -> bool:
    return (
        (match.prompt is None or match.prompt in prompt)
        and (match.regex is None or re.search(match.regex, prompt) is not None)
        and (match.model is None or match.model == model)
    )


def fill_in(reply: Reply, prompt: str, items: Sequence[Item]) -> Reply:
    """Return the reply with its templates replaced in text, reasoning, arguments and input."""
    values = {
        "{{prompt}}": prompt,
        "{{last_output}}": last_output(items),
        "{{last_process}}": last_process(items),
    }
    calls = [
        call.model_copy(update={"arguments": _replace(call.arguments, values), "input": _replace(call.input, values)})
        for call in reply.calls
    ]
    update = {"text": _replace(reply.text, values), "reasoning": _replace(reply.reasoning, values), "calls": calls}
    return reply.model_copy(update=update)


_TEMPLATE = re.compile(r"\{\{(?:prompt|last_output|last_process)\}\}")


def _replace(value: Any, values: dict[str, str]) -> Any:
    if isinstance(value, str):
        # One pass: what a tool printed may itself look like a template.
        return _TEMPLATE.sub(lambda found: values[found.group()], value)
    if isinstance(value, list):
        return [_replace(part, values) for part in value]
    if isinstance(value, dict):
        return {name: _replace(part, values) for name, part in value.items()}
    return value
