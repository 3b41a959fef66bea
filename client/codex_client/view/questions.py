"""Questions of a model to a person, and the answer as a decision carries it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from codex_api.approvals import MAX_ANSWER_CHARACTERS
from codex_api.rows import ToolCallPayload

SEPARATOR = ";"


@dataclass(frozen=True)
class Option:
    label: str
    description: str


@dataclass(frozen=True)
class AskedQuestion:
    header: str
    question: str
    options: tuple[Option, ...]


def questions_of(call: ToolCallPayload) -> list[AskedQuestion]:
    """Return the questions of a request_user_input call; what is no question is left out."""
    asked = call.arguments.get("questions")
    return [_question(entry) for entry in asked if isinstance(entry, dict)] if isinstance(asked, list) else []


def answer_to(question: AskedQuestion, typed: str) -> str:
    """Return what was meant: the option whose number was typed, else the words themselves."""
    if typed.isascii() and typed.isdecimal() and 1 <= int(typed[:4]) <= len(question.options):
        return question.options[int(typed) - 1].label
    return typed


def joined_answers(answers: Sequence[str]) -> str:
    """Return the answers as one text; the mark between them appears in none of several."""
    if len(answers) > 1:
        answers = [answer.replace(SEPARATOR, ",") for answer in answers]
    return f"{SEPARATOR} ".join(answers)[:MAX_ANSWER_CHARACTERS]


def _question(entry: dict[str, object]) -> AskedQuestion:
    options = entry.get("options")
    return AskedQuestion(
        _text(entry, "header"),
        _text(entry, "question"),
        tuple(
            Option(_text(option, "label"), _text(option, "description"))
            for option in (options if isinstance(options, list) else [])
            if isinstance(option, dict)
        ),
    )


def _text(entry: dict[str, object], name: str) -> str:
    value = entry.get(name)
    return value if isinstance(value, str) else ""
