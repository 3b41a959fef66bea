"""What is remembered of an open call, and how each kind of call is shown to people. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from codex_api.rows import NEWLINE_SIGN, FileChange, ToolCallPayload
from codex_api.tools import APPLY_PATCH, REQUEST_USER_INPUT, UPDATE_PLAN, WRITE_STDIN
from codex_operator.display import one_line

KIND_QUESTION = "Question"
KINDS = {WRITE_STDIN: "WriteStdin", APPLY_PATCH: "Patch", REQUEST_USER_INPUT: KIND_QUESTION}
KIND_OF_OTHERS = "Exec"

COMMAND_BYTES = 120
JUSTIFICATION_BYTES = 512
CHANGE_LETTERS = {"add": "A", "delete": "D", "update": "M"}
PATCH_HEADERS = {"*** Add File: ": "A", "*** Delete File: ": "D", "*** Update File: ": "M"}


@dataclass(frozen=True)
class CallNote:
    """What is remembered of an open call."""

    tool: str = ""
    preview: str = ""
    """The whole command or patch, or the question with the answers it proposes."""
    title: str = ""
    """It in a few words, on one line."""
    directory: str = ""
    justification: str = ""
    digest: str = ""
    truncated: bool = False
    approval_id: str = ""
    questions: int = 1
    """How many answers a question wants."""

    @property
    def kind(self) -> str:
        """What an approval of it is about."""
        return KINDS.get(self.tool, KIND_OF_OTHERS)


class _Lenient(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _PlanStep(_Lenient):
    step: str
    status: str


class _Plan(_Lenient):
    plan: list[_PlanStep]


def note_of(call: ToolCallPayload) -> CallNote:
    return CallNote(
        tool=call.tool,
        preview=call.preview,
        title=one_line(_title(call), COMMAND_BYTES),
        directory=call.directory,
        justification=one_line(call.justification, JUSTIFICATION_BYTES),
        digest=call.digest,
        truncated=call.truncated,
        approval_id=call.approval_id,
        questions=_question_count(call),
    )


def _question_count(call: ToolCallPayload) -> int:
    questions = call.arguments.get("questions") if call.tool == REQUEST_USER_INPUT else None
    return max(1, len(questions)) if isinstance(questions, list) else 1


def _title(call: ToolCallPayload) -> str:
    if call.tool == APPLY_PATCH and (files := _patched_files(call.preview)):
        return f"patch {files}"
    if call.tool == UPDATE_PLAN and (plan := _plan(call.arguments)):
        return plan
    return call.preview or call.tool


def _patched_files(patch: str) -> str:
    """Return ``A a.py, M b.py`` as the patch's own headers say, empty for something else."""
    lines = (line.strip() for line in patch.split(NEWLINE_SIGN))
    found = [f"{letter} {line[len(header) :]}" for line in lines for header, letter in _header(line)]
    return ", ".join(found)


def _header(line: str) -> Sequence[tuple[str, str]]:
    return [(header, letter) for header, letter in PATCH_HEADERS.items() if line.startswith(header)]


def _plan(arguments: Mapping[str, Any]) -> str:
    """Return ``2 of 5 done, now: write the tests``; empty for arguments of another form."""
    try:
        steps = _Plan.model_validate(arguments).plan
    except ValidationError:
        return ""
    done = sum(step.status == "completed" for step in steps)
    now = next((step.step for step in steps if step.status == "in_progress"), "")
    return f"{done} of {len(steps)} done{', now: ' + now if now else ''}"


def changed_files(changes: Sequence[FileChange]) -> str:
    """Return what a patch has changed: ``A a.py, D b.py, M c.py → d.py``."""
    return ", ".join(
        f"{CHANGE_LETTERS.get(change.kind, change.kind)} {change.path}"
        + (f" → {change.move_path}" if change.move_path else "")
        for change in changes
    )
