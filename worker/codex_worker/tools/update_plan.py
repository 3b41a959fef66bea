"""The tool update_plan: a list of steps that people watch; nothing runs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from codex_worker.tools.exec_command import Text, ToolArguments, default_for_null

UPDATED = "Plan updated"

_MARKS = {"pending": "[ ]", "in_progress": "[>]", "completed": "[x]"}


class PlanStep(ToolArguments):
    step: Text
    status: Literal["pending", "in_progress", "completed"]


class UpdatePlanArguments(ToolArguments):
    plan: list[PlanStep] = Field(max_length=1000)
    explanation: Annotated[Text, default_for_null("")] = ""


def shown_plan(arguments: UpdatePlanArguments) -> str:
    """Return the plan as one line a step."""
    return "\n".join(f"{_MARKS[step.status]} {step.step}" for step in arguments.plan)
