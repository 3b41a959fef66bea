"""Choosing the reply: a pure function of script and request, so that a retry gets the same one."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from codex_client.model_server.conversation import STEM_LENGTH, Item, count_replies, first_prompt, last_output
from codex_client.model_server.script import Match, Reply, Script


@dataclass(frozen=True)
class Choice:
    conversation: int
    """Index in the script; -1 where none matches."""
    number: int
    """Which reply of the conversation this is, from 0."""
    reply: Reply
    stem: str
    """Hexadecimal; shared by the ids of the response and its items."""


def choose(script: Script, request: dict[str, Any], items: Sequence[Item]) -> Choice:
    """Return the reply to a request whose (normalised) input is ``items``."""
    prompt = first_prompt(items)
    model = str(request.get("model"))
    number = count_replies(items)
    identity = "\n".join((str(request.get("prompt_cache_key")), prompt, str(number)))
    stem = hashlib.sha256(identity.encode(errors="replace")).hexdigest()[:STEM_LENGTH]
    for index, conversation in enumerate(script.conversations):
        if not matches(conversation.match, prompt, model):
            continue
        replies = conversation.replies
        if number < len(replies) or conversation.repeat:
            return Choice(index, number, fill_in(replies[number % len(replies)], prompt, items), stem)
        ended = Reply(text=f"The script of this conversation has ended: it holds {len(replies)} replies.")
        return Choice(index, number, ended, stem)
    unknown = f"I am a scripted model, and my script has no conversation for this prompt: {prompt[:200]!r}"
    return Choice(-1, number, Reply(text=unknown), stem)


def matches(match: Match, prompt: str, model: str) -> bool:
    return (
        (match.prompt is None or match.prompt in prompt)
        and (match.regex is None or re.search(match.regex, prompt) is not None)
        and (match.model is None or match.model == model)
    )


def fill_in(reply: Reply, prompt: str, items: Sequence[Item]) -> Reply:
    """Return the reply with its templates replaced in text, reasoning and arguments."""
    values = {"{{prompt}}": prompt, "{{last_output}}": last_output(items)}
    calls = [call.model_copy(update={"arguments": _replace(call.arguments, values)}) for call in reply.calls]
    update = {"text": _replace(reply.text, values), "reasoning": _replace(reply.reasoning, values), "calls": calls}
    return reply.model_copy(update=update)


_TEMPLATE = re.compile(r"\{\{(?:prompt|last_output)\}\}")


def _replace(value: Any, values: dict[str, str]) -> Any:
    if isinstance(value, str):
        # One pass: what a tool printed may itself look like a template.
        return _TEMPLATE.sub(lambda found: values[found.group()], value)
    if isinstance(value, list):
        return [_replace(part, values) for part in value]
    if isinstance(value, dict):
        return {name: _replace(part, values) for name, part in value.items()}
    return value
