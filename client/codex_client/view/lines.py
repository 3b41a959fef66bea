"""What happened as lines of a transcript; the live view colours them, the plain one prints them as they are. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from codex_api.approvals import DecisionKind
from codex_api.events import TurnComplete
from codex_api.rows import ToolCallPayload
from codex_api.tools import EXEC_COMMAND, REQUEST_USER_INPUT, WRITE_STDIN
from codex_client.view.endings import ending_words
from codex_client.view.excerpts import diff_stat, excerpt
from codex_client.view.happenings import (
    AgentReasoned,
    ApprovalAnswered,
    ApprovalAsked,
    CallEnded,
    CompactionLeftOut,
    ConversationCompacted,
    Happening,
    PatchChanged,
    PlanChanged,
    ProcessLeftRunning,
    RequestRetried,
    SandboxSaid,
    SessionEnded,
    TurnBegan,
    TurnEnded,
    UserSaid,
)
from codex_client.view.items import answers_text, is_patch, patched_files
from codex_client.view.safe_text import safe_line, safe_lines, safe_output_line
from codex_client.view.wording import MESSAGE_WIDTH, decided_words, result_words, retry_words

COMMAND_WIDTH = 400
OUTPUT_HEAD, OUTPUT_TAIL = 2, 3
PATCH_LINES = 24
PROMPT_LINES = 12
FILES_LISTED = 20

_REFUSED = ("denied", "expired", "aborted")
_PLAN_MARKS = {"completed": "✔", "in_progress": "▸", "pending": "☐"}


class Style(StrEnum):
    PLAIN = ""
    QUIET = "dim"
    HEADING = "bold"
    GOOD = "green"
    BAD = "red"
    WARNING = "yellow"


@dataclass(frozen=True)
class Line:
    """One line of text without line breaks and control characters."""

    text: str
    style: Style = Style.PLAIN
    mark: str = ""
    """A single sign before the text; without it the text is indented as if there were one."""
    mark_style: Style = Style.PLAIN
    note: str = ""
    """Told after the text, and never cut."""
    wraps: bool = False
    """Whether all of it counts; else it is cut to the width of the terminal."""


def lines_of(happening: Happening) -> list[Line]:
    """Return the lines that tell what happened; none for what the model said, which is prose, and for mere figures."""
    match happening:
        case TurnBegan(_, prompt) | UserSaid(prompt):
            return _said_by_user(prompt)
        case AgentReasoned(text):
            return [Line(line.text, Style.QUIET, wraps=True) for line in prose_lines(text)]
        case CallEnded():
            return _call_ended(happening)
        case PatchChanged():
            return _patch_changed(happening)
        case PlanChanged():
            return _plan_changed(happening)
        case ApprovalAsked(_, call):
            shown = call_words(call) if call else "a call"
            return [Line(shown, Style.WARNING, "?", Style.WARNING, "waits for approval")]
        case ApprovalAnswered():
            return [_approval_answered(happening)]
        case _:
            return _notices(happening)


def _notices(happening: Happening) -> list[Line]:
    match happening:
        case ProcessLeftRunning(call, process):
            return [_warning(f"still running as {process}: {call_words(call)}")]
        case RequestRetried(retry):
            return [_warning(retry_words(retry))]
        case ConversationCompacted():
            return [Line("the conversation was summarised to make room", Style.QUIET, "↻", Style.QUIET)]
        case CompactionLeftOut(message):
            return [_warning(f"the conversation was not summarised: {safe_line(message, MESSAGE_WIDTH)}")]
        case SandboxSaid(reason, message):
            return [_warning(f"sandbox: {safe_line(message or reason, MESSAGE_WIDTH)}")]
        case TurnEnded(end) if not isinstance(end, TurnComplete):
            return [Line(safe_line(ended_words(happening)), Style.BAD, "✗", Style.BAD, wraps=True)]
        case SessionEnded(reason):
            return [Line(f"the session is closed: {safe_line(reason, 80)}", Style.QUIET)]
        case _:
            return []


def ended_words(ended: TurnEnded) -> str:
    """Return why a turn did not complete."""
    assert not isinstance(ended.end, TurnComplete)
    refusal = ended.refusal
    if refusal is None or refusal.call is None:
        return ending_words(ended.end)
    return ending_words(ended.end, refusal.decided.decision, call_words(refusal.call))


def call_words(call: ToolCallPayload) -> str:
    """Return a call on one line, escaped: the command itself where it is one."""
    if is_patch(call) and (files := patched_files(call)):
        return safe_line(f"patch {', '.join(path for _, path in files[:FILES_LISTED])}", COMMAND_WIDTH)
    shown = call.preview or call.tool
    if call.tool in (EXEC_COMMAND, WRITE_STDIN) or shown == call.tool:
        return safe_line(shown, COMMAND_WIDTH)
    tool = "asked:" if call.tool == REQUEST_USER_INPUT else call.tool
    return safe_line(f"{tool} {shown}", COMMAND_WIDTH)


def diff_lines(unified_diff: str) -> list[Line]:
    """Return the files a diff changes, with the number of lines added and removed."""
    files = diff_stat(unified_diff)
    listed = [
        Line(safe_line(file.path, COMMAND_WIDTH), Style.PLAIN, "✎", note=f"+{file.added} -{file.removed}")
        for file in files[:FILES_LISTED]
    ]
    if len(files) > FILES_LISTED:
        listed.append(Line(f"… {len(files) - FILES_LISTED} more files", Style.QUIET))
    return listed


def prose_lines(text: str) -> list[Line]:
    return [Line(line, wraps=True) for line in safe_lines(text).split("\n")]


def _approval_answered(answered: ApprovalAnswered) -> Line:
    decided, call = answered.decided, answered.call
    approved = decided.decision in (DecisionKind.APPROVE, DecisionKind.ANSWER)
    mark, style = ("✓", Style.GOOD) if approved else ("✗", Style.BAD)
    shown = call_words(call) if call else safe_line(decided.call_id, COMMAND_WIDTH)
    return Line(shown, Style.PLAIN, mark, style, decided_words(decided))


def _said_by_user(text: str) -> list[Line]:
    shown = excerpt(text, PROMPT_LINES, 0)
    lines = [Line(safe_line(line), Style.HEADING, "" if at else ">", wraps=True) for at, line in enumerate(shown.head)]
    return lines + _omitted(shown.omitted)


def _call_ended(ended: CallEnded) -> list[Line]:
    result = ended.result
    if ended.decided and not ended.began and result.outcome in _REFUSED:
        return []
    failed = result.outcome not in ("completed", "answered") or bool(result.exit_code)
    running = result.process is not None and result.exit_code is None
    mark, style = ("✗", Style.BAD) if failed else ("…", Style.QUIET) if running else ("✓", Style.GOOD)
    # What a patch changed follows.
    output = "" if result.changes else ended.output
    if ended.call.tool == REQUEST_USER_INPUT:
        output = answers_text(output)
    shown = excerpt(output, OUTPUT_HEAD, OUTPUT_TAIL)
    return [
        Line(call_words(ended.call), Style.PLAIN, mark, style, result_words(result)),
        *(_output(line) for line in shown.head),
        *_omitted(shown.omitted),
        *(_output(line) for line in shown.tail),
    ]


def _output(line: str) -> Line:
    return Line("  " + safe_output_line(line), Style.QUIET)


def _omitted(count: int) -> list[Line]:
    return [Line(f"  … {count:,} more line{'' if count == 1 else 's'}", Style.QUIET)] if count else []


def _patch_changed(patch: PatchChanged) -> list[Line]:
    body = patch.patch.strip().removeprefix("*** Begin Patch").removesuffix("*** End Patch").strip("\n")
    shown = excerpt(body, PATCH_LINES, 0)
    return [_patch_line(line) for line in shown.head] + _omitted(shown.omitted)


def _patch_line(line: str) -> Line:
    style = {"+": Style.GOOD, "-": Style.BAD}.get(line[:1], Style.QUIET)
    return Line("  " + safe_line(line, COMMAND_WIDTH), style)


def _plan_changed(plan: PlanChanged) -> list[Line]:
    heading = Line(safe_line(plan.explanation or "Plan", MESSAGE_WIDTH), Style.HEADING, "•", wraps=True)
    return [heading, *(_plan_line(step.text, step.status) for step in plan.steps)]


def _plan_line(text: str, status: str) -> Line:
    style = {"completed": Style.QUIET, "in_progress": Style.HEADING}.get(status, Style.PLAIN)
    return Line(f"{_PLAN_MARKS.get(status, '☐')} {safe_line(text, MESSAGE_WIDTH)}", style, wraps=True)


def _warning(text: str) -> Line:
    return Line(text, Style.WARNING, "!", Style.WARNING, wraps=True)
