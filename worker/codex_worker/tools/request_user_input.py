"""The tool request_user_input: questions that a person answers through the channel of approvals."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from codex_worker.tools.exec_command import Text, ToolArguments, default_for_null, filled

SEPARATOR = ";"


class Option(ToolArguments):
    label: Annotated[Text, AfterValidator(filled)]
    description: Annotated[Text, default_for_null("")] = ""


class Question(ToolArguments):
    id: Annotated[Text, AfterValidator(filled)]
    header: Annotated[Text, default_for_null("")] = ""
    question: Annotated[Text, AfterValidator(filled)]
    options: Annotated[list[Option], default_for_null([]), Field(max_length=10)] = Field(default=[])


class RequestUserInputArguments(ToolArguments):
    questions: list[Question] = Field(min_length=1, max_length=3)


def shown_questions(arguments: RequestUserInputArguments) -> str:
    """Return the questions with their options, as a person reads them before answering."""
    return "\n".join(_shown(question) for question in arguments.questions)


def answers_text(arguments: dict[str, Any], words: str) -> str:
    """Return what the model reads: each question's id with its answers.

    The words are split at semicolons where that gives an answer for each question; else they all answer each of them.
    """
    ids = [str(question["id"]) for question in arguments["questions"]]
    parts = [part.strip() for part in words.split(SEPARATOR)]
    if len(ids) == 1 or len(parts) != len(ids):
        parts = [words.strip()] * len(ids)
    answers = {identity: {"answers": [part] if part else []} for identity, part in zip(ids, parts, strict=True)}
    return json.dumps({"answers": answers}, ensure_ascii=False)


def _shown(question: Question) -> str:
    title = f"{question.header}: " if question.header else ""
    options = [
        f"({number}) {option.label}" + (f" - {option.description}" if option.description else "")
        for number, option in enumerate(question.options, 1)
    ]
    return " ".join([title + question.question, *options])
