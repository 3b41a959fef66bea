"""Whatever a journal may hold: no view raises, and none prints a character that moves the cursor of its own accord."""

from __future__ import annotations

import io
import json
import os
import re
from typing import Any
from unittest import mock

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codex_api import conditions
from codex_api.approvals import DecisionKind
from codex_api.events import (
    ApprovalDecided,
    CompactionSkipped,
    ExecApprovalRequest,
    SandboxReset,
    SessionCompleted,
    TurnAborted,
    TurnComplete,
    TurnDiff,
    TurnFailed,
    TurnStarted,
)
from codex_api.rows import (
    Classification,
    CompactionPayload,
    FileChange,
    RowKind,
    SandboxReportPayload,
    SessionClosedPayload,
)
from codex_client.view.happenings import AgentSaid
from codex_client.view.json_presenter import JsonPresenter
from codex_client.view.lines import lines_of
from codex_client.view.listing import show_transcript
from codex_client.view.outcome import outcome_of
from codex_client.view.plain import PlainPresenter
from codex_client.view.presenter import RunInfo
from codex_client.view.printing import console_on, print_lines, prose
from codex_client.view.progress import Progress
from codex_client.view.testing import SESSION, SessionRows

NASTY = st.sampled_from(
    [
        "\x1b[2J",
        "\x1b]0;t\x07",
        "\u202e",
        "\r",
        "\n",
        "\t",
        "\x00",
        "\x7f",
        "\x9b31m",
        "\ud800",
        "[red]",
        "```",
        "漢",
        "🎉",
    ]
)
TEXT = st.lists(NASTY | st.text(max_size=5), max_size=6).map("".join)
SMALL = st.integers(0, 6)
CODE = st.none() | st.integers(-1, 255)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["item", "type", "turn"]), inner),
    max_leaves=5,
)
REASONS = sorted(value for name, value in vars(conditions).items() if name.startswith("REASON_"))
TOOLS = ["exec_command", "write_stdin", "apply_patch", "update_plan", "request_user_input", "view_image", "nonsense"]
OUTCOMES = ["completed", "denied", "expired", "interrupted", "aborted", "refused", "failed", "answered"]

Step = tuple[str, dict[str, Any]]
CALL = st.fixed_dictionaries(
    {
        "tool": st.sampled_from(TOOLS),
        "classification": st.sampled_from(Classification),
        "preview": TEXT,
        "stdin": st.none() | TEXT,
        "justification": TEXT,
        "arguments": st.fixed_dictionaries(
            {},
            optional={
                "cmd": JSON,
                "session_id": SMALL,
                "input": JSON,
                "plan": JSON | st.lists(st.fixed_dictionaries({"step": JSON, "status": JSON}), max_size=2),
                "questions": JSON,
            },
        ),
    }
)
CHANGES = st.lists(st.builds(FileChange, path=TEXT, kind=st.sampled_from(["add", "delete", "update"])), max_size=2)
RESULT = st.fixed_dictionaries(
    {
        "output": TEXT,
        "exit_code": CODE,
        "process": st.none() | SMALL,
        "outcome": st.sampled_from(OUTCOMES),
        "changes": CHANGES,
    }
)
EVENT = st.one_of(
    st.builds(TurnStarted, message=SMALL),
    st.builds(TurnComplete, last_agent_message=TEXT, message_seq=SMALL),
    st.builds(TurnAborted, reason=st.sampled_from(REASONS), message=TEXT),
    st.builds(TurnFailed, reason=st.sampled_from(REASONS), message=TEXT),
    st.builds(TurnDiff, unified_diff=TEXT.map(lambda text: f"--- a/x\n+++ b/{text}\n@@ -1 +1 @@\n+{text}")),
    st.builds(SandboxReset, message=TEXT),
    st.builds(CompactionSkipped, reason=st.just("requested"), message=TEXT),
    st.builds(SessionCompleted, reason=TEXT),
    st.builds(
        ExecApprovalRequest,
        approval_id=st.just("a"),
        call_id=st.just("t1.s1.c0"),
        request_time=TEXT,
        expiration_time=TEXT,
    ),
    st.builds(
        ApprovalDecided,
        approval_id=st.just("a"),
        call_id=st.sampled_from(["t1.s1.c0", "unknown"]),
        decision=st.sampled_from(DecisionKind),
        decided_by=TEXT,
        reason=TEXT,
    ),
)
STEP = st.one_of(
    st.tuples(st.just("call"), CALL),
    st.tuples(st.just("began"), st.just({})),
    st.tuples(st.just("ended"), RESULT),
    st.tuples(st.just("event"), EVENT),
    st.tuples(st.sampled_from(["message", "said", "reasoned"]), TEXT),
    st.tuples(st.just("retried"), st.tuples(st.sampled_from(REASONS), TEXT, TEXT)),
    st.tuples(st.just("any"), st.tuples(st.sampled_from(RowKind), st.dictionaries(TEXT, JSON, max_size=2))),
    st.tuples(st.just("report"), st.builds(SandboxReportPayload, generation=SMALL, ready=st.booleans(), reason=TEXT)),
    st.tuples(st.just("closed"), st.builds(SessionClosedPayload, reason=TEXT)),
    st.tuples(st.just("compacted"), st.just(CompactionPayload(reason="limit", items=[]))),
)
_KINDS = {
    "report": RowKind.SANDBOX_REPORT,
    "closed": RowKind.SESSION_CLOSED,
    "compacted": RowKind.COMPACTION,
}


def journal_of(steps: list[tuple[str, Any]]) -> SessionRows:
    rows = SessionRows()
    calls = []
    for name, value in steps:
        match name:
            case "call":
                calls.append(rows.call(**value))
            case "began" if calls:
                rows.began(calls[-1])
            case "ended" if calls:
                rows.ended(calls[-1], **value)
            case "retried":
                rows.retried(*value)
            case "any":
                rows.add(*value)
            case "report" | "closed" | "compacted":
                rows.add(_KINDS[name], value)
            case "event" | "message" | "said" | "reasoned":
                getattr(rows, name)(value)
    rows.used(1, 2, 3)
    return rows


def require_calm(printed: str) -> None:
    assert all(character.isprintable() or character == "\n" for character in printed), repr(printed)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STEP, max_size=12))
def test_no_view_raises_or_prints_control_characters(steps: list[tuple[str, Any]]) -> None:
    rows = journal_of(steps)
    info = RunInfo(SESSION, "m", "/d", "none", "never", resumed=True)
    outcome = outcome_of(rows.all)
    assert outcome.exit_code in (0, 1, 3, 4, 130)
    events, out, err = io.StringIO(), io.StringIO(), io.StringIO()
    for view in (JsonPresenter(events), PlainPresenter(out, err)):
        view.begin(info)
        for row in rows.all:
            view.show(row)
        view.end(outcome)
    require_calm(err.getvalue())
    require_calm(events.getvalue())
    for line in events.getvalue().splitlines():
        assert "type" in json.loads(line)
    transcript = io.StringIO()
    show_transcript(rows.all, transcript)
    require_calm(transcript.getvalue())


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STEP, max_size=8), st.sampled_from([10, 40, 80]))
def test_a_terminal_gets_only_the_sequences_of_the_view_itself(steps: list[tuple[str, Any]], width: int) -> None:
    rows = journal_of(steps)
    out = io.StringIO()
    with mock.patch.dict(os.environ, {"FORCE_COLOR": "1"}):
        console = console_on(out, width=width)
    progress = Progress()
    for row in rows.all:
        for happening in progress.feed(row):
            print_lines(console, lines_of(happening))
            if isinstance(happening, AgentSaid):
                console.print(prose(happening.text))
    require_calm(re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue()))
