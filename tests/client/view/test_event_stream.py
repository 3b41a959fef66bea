"""The event stream against the shapes that readers of ``codex exec --json`` expect."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import json
import os
import shlex
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_api import conditions
from codex_api.approvals import DecisionKind
from codex_api.events import (
    ApprovalDecided,
    CompactionSkipped,
    ExecApprovalRequest,
    TurnAborted,
    TurnComplete,
    TurnDiff,
    TurnFailed,
    TurnStarted,
)
from codex_api.rows import Classification, CompactionPayload, FileChange, RowKind
from codex_client.view.json_events import EventStream
from codex_client.view.json_presenter import JsonPresenter
from codex_client.view.outcome import outcome_of
from codex_client.view.presenter import Outcome, Question, RunInfo
from codex_client.view.shell_words import joined
from codex_client.view.testing import BEGINNING, SESSION, SessionRows

TEXT = {"type": "string"}
STATUS = {"enum": ["in_progress", "completed", "failed", "declined"]}
ITEM_FIELDS: dict[str, dict[str, Any]] = {
    "agent_message": {"text": TEXT},
    "reasoning": {"text": TEXT},
    "user_message": {"text": TEXT},
    "error": {"message": TEXT},
    "compaction": {"reason": TEXT},
    "command_execution": {
        "command": TEXT,
        "aggregated_output": TEXT,
        "exit_code": {"type": ["integer", "null"]},
        "status": STATUS,
    },
    "file_change": {
        "changes": {
            "type": "array",
            "items": {"required": ["path", "kind"], "properties": {"kind": {"enum": ["add", "delete", "update"]}}},
        },
        "status": STATUS,
    },
    "todo_list": {"items": {"type": "array", "items": {"required": ["text", "completed"]}}},
    "tool_call": {"tool": TEXT, "status": STATUS},
    "approval_request": {"approval_id": TEXT, "status": TEXT},
}
TOKENS = ["input_tokens", "cached_input_tokens", "cache_write_input_tokens", "output_tokens", "reasoning_output_tokens"]
USAGE = {"required": TOKENS, "properties": {name: {"type": "integer"} for name in TOKENS}}
EVENT_FIELDS: dict[str, dict[str, Any]] = {
    "thread.started": {"thread_id": TEXT},
    "turn.started": {},
    "turn.completed": {"usage": USAGE},
    "turn.failed": {"error": {"required": ["message", "code"]}},
    "turn.diff": {"unified_diff": TEXT},
    "request.usage": {"usage": USAGE},
    "error": {"message": TEXT},
    "thread.closed": {"reason": TEXT},
}


def require_shape(event: dict[str, Any]) -> None:
    """Raise where an event is none that a reader of the stream knows what to do with."""
    kind = event["type"]
    fields = EVENT_FIELDS.get(kind)
    if fields is None:
        assert kind in ("item.started", "item.updated", "item.completed")
        item = event["item"]
        fields = ITEM_FIELDS[item["type"]] | {"id": {"pattern": "^item_[0-9]+$"}}
        jsonschema.validate(item, {"required": list(fields), "properties": fields})
    else:
        jsonschema.validate(event, {"required": list(fields), "properties": fields})


def events_of(rows: SessionRows, info: RunInfo) -> list[dict[str, Any]]:
    stream = EventStream()
    events = [*stream.begin(info), *(event for row in rows.all for event in stream.show(row))]
    for event in events:
        require_shape(event)
    return events


def items_of(events: list[dict[str, Any]], kind: str) -> list[tuple[str, dict[str, Any]]]:
    found = [(event["type"], event["item"]) for event in events if event["type"].startswith("item.")]
    return [(stage, item) for stage, item in found if item["type"] == kind]


def whole_session(rows: SessionRows) -> None:
    """Add a row of every kind that a turn can have."""
    rows.event(TurnStarted(message=rows.message("Fix it.").seq))
    rows.retried(conditions.REASON_MODEL_RATE_LIMITED, "slow down")
    rows.reasoned("I think.")
    rows.ended(rows.plan(("Look", "in_progress"), ("Fix", "pending")), exit_code=None)
    for output, code in (("one\n", 0), ("none\n", 1)):
        call = rows.command("cat a")
        rows.began(call)
        rows.ended(call, output, code)
    asked = rows.command("rm -r x", classification=Classification.ASK, approval_id="t1-c1-x")
    rows.event(
        ExecApprovalRequest(
            approval_id="t1-c1-x", call_id=asked.call_id, request_time="2026-03-04T10:00:00Z", expiration_time=""
        )
    )
    rows.event(ApprovalDecided(approval_id="t1-c1-x", call_id=asked.call_id, decision=DecisionKind.DENY))
    rows.ended(asked, exit_code=None, outcome="denied")
    patch = rows.patch("*** Begin Patch\n*** Add File: b\n+new\n*** End Patch")
    rows.began(patch)
    rows.patched(patch, FileChange(path="b", kind="add"))
    rows.event(TurnDiff(unified_diff="--- /dev/null\n+++ b/b\n@@ -0,0 +1 @@\n+new\n"))
    rows.ended(rows.call("no_such", classification=Classification.UNKNOWN_TOOL), "unsupported call", None)
    rows.event(CompactionSkipped(reason="requested", message="too little is left"))
    rows.add(RowKind.COMPACTION, CompactionPayload(reason="limit", items=[]))
    rows.ended(rows.plan(("Look", "completed"), ("Fix", "completed")), exit_code=None)
    rows.said("Done.")
    rows.used(100, 20, 1500)
    rows.event(TurnComplete(last_agent_message="Done."))


def test_a_whole_turn_has_the_shape_of_the_original_stream(rows: SessionRows, info: RunInfo) -> None:
    whole_session(rows)
    events = events_of(rows, info)
    assert [event["type"] for event in events][:2] == ["thread.started", "turn.started"]
    assert events[0]["thread_id"] == SESSION
    assert events[-1]["type"] == "turn.completed"
    assert events[-1]["usage"]["input_tokens"] == 100
    assert {item["type"] for event in events if (item := event.get("item"))} == set(ITEM_FIELDS) - {"user_message"}


def test_every_event_of_a_row_says_which_row_and_when(rows: SessionRows, info: RunInfo) -> None:
    whole_session(rows)
    events = events_of(rows, info)[1:]
    assert all(event["at"].endswith("Z") and event["turn"] == 1 for event in events)
    assert [event["seq"] for event in events] == sorted(event["seq"] for event in events)


def test_every_item_that_starts_is_completed_once_with_the_same_id(rows: SessionRows, info: RunInfo) -> None:
    whole_session(rows)
    events = events_of(rows, info)
    started = [event["item"]["id"] for event in events if event["type"] == "item.started"]
    completed = [event["item"]["id"] for event in events if event["type"] == "item.completed"]
    assert len(set(completed)) == len(completed)
    assert set(started) <= set(completed)


def test_a_command_starts_when_it_runs_and_completes_with_output_and_exit_code(
    rows: SessionRows, info: RunInfo
) -> None:
    call = rows.command("make")
    rows.began(call)
    rows.ended(call, "boom\n", 2)
    (started, first), (completed, last) = items_of(events_of(rows, info), "command_execution")
    assert (started, completed) == ("item.started", "item.completed")
    assert (first["status"], first["command"]) == ("in_progress", "/bin/bash -c make")
    assert (last["status"], last["exit_code"], last["aggregated_output"]) == ("failed", 2, "boom\n")


@pytest.mark.parametrize(
    ("outcome", "status"),
    [("denied", "declined"), ("expired", "declined"), ("aborted", "failed"), ("failed", "failed")],
)
def test_a_call_that_never_ran_is_an_item_all_the_same(
    rows: SessionRows, info: RunInfo, outcome: str, status: str
) -> None:
    rows.ended(rows.command("make"), exit_code=None, outcome=outcome)
    ((stage, item),) = items_of(events_of(rows, info), "command_execution")
    assert (stage, item["status"], item["outcome"]) == ("item.completed", status, outcome)


def test_a_command_that_outlives_its_call_completes_when_its_end_is_seen(rows: SessionRows, info: RunInfo) -> None:
    server = rows.command("serve")
    rows.began(server)
    rows.ended(server, "up\n", None, process=7)
    poll = rows.call("write_stdin", arguments={"session_id": 7, "chars": ""}, preview="wait for process 7")
    rows.ended(poll, "bye\n", 3)
    events = events_of(rows, info)
    of_server = [event for event in events if event.get("call_id") == server.call_id]
    assert [event["type"] for event in of_server] == ["item.started", "item.updated", "item.completed"]
    assert of_server[1]["item"]["process"] == 7
    assert (of_server[2]["item"]["exit_code"], of_server[2]["item"]["status"]) == (3, "failed")


def test_a_command_still_running_at_the_end_of_the_turn_is_completed_as_running(
    rows: SessionRows, info: RunInfo
) -> None:
    server = rows.command("serve")
    rows.began(server)
    rows.ended(server, "up\n", None, process=7)
    rows.event(TurnComplete())
    stage, item = items_of(events_of(rows, info), "command_execution")[-1]
    assert (stage, item["status"], item["process"]) == ("item.completed", "in_progress", 7)


def test_an_approval_is_an_item_from_request_to_decision(rows: SessionRows, info: RunInfo) -> None:
    whole_session(rows)
    (started, asked), (completed, answered) = items_of(events_of(rows, info), "approval_request")
    assert (started, completed) == ("item.started", "item.completed")
    assert (asked["status"], asked["command"], asked["kind"]) == ("pending", "rm -r x", "command")
    assert (answered["id"], answered["status"]) == (asked["id"], "denied")


@pytest.mark.parametrize(
    ("argv", "command"),
    [
        (["bash", "-lc", "ls -la"], "/bin/bash -lc 'ls -la'"),
        (["bash", "-c", "echo 'a b' && ls"], "/bin/bash -c \"echo 'a b' && ls\""),
        (["/usr/bin/bash", "-lc", "pwd"], "/usr/bin/bash -lc pwd"),
        (["git", "log", "-1", "a b"], "git log -1 'a b'"),
    ],
)
def test_a_command_is_spelt_with_the_shell_that_runs_it(
    rows: SessionRows, info: RunInfo, argv: list[str], command: str
) -> None:
    rows.ended(rows.command("something", argv=argv))
    ((_, item),) = items_of(events_of(rows, info), "command_execution")
    assert item["command"] == command


@given(st.lists(st.text(st.sampled_from("ab '\"\\^$!`=é\n~*]"), max_size=12), min_size=1))
def test_a_shell_reads_the_words_of_a_command_line_as_they_were(words: list[str]) -> None:
    assert shlex.split(joined(words)) == words


def test_paths_of_a_patch_are_whole_when_it_begins_and_when_it_is_done(rows: SessionRows, info: RunInfo) -> None:
    patch = rows.patch("*** Begin Patch\n*** Update File: a\n*** Move to: d/b\n+x\n*** Add File: /tmp/c\n*** End Patch")
    rows.began(patch)
    rows.patched(patch, FileChange(path="a", kind="update", move_path="d/b"), FileChange(path="/tmp/c", kind="add"))
    (_, started), (_, completed) = items_of(events_of(rows, info), "file_change")
    assert [change["path"] for change in started["changes"]] == ["/workspace/a", "/tmp/c"]
    assert completed["changes"][0] == {"path": "/workspace/a", "kind": "update", "move_path": "/workspace/d/b"}
    assert completed["changes"][1] == {"path": "/tmp/c", "kind": "add"}


def test_a_last_attempt_is_told_by_the_end_of_the_turn_alone(rows: SessionRows, info: RunInfo) -> None:
    rows.event(TurnStarted(message=1))
    rows.retried(conditions.REASON_PROVIDER_UNAUTHORIZED, "the key is refused", BEGINNING.isoformat())
    rows.event(TurnFailed(reason=conditions.REASON_PROVIDER_UNAUTHORIZED, message="the key is refused"))
    events = events_of(rows, info)
    assert items_of(events, "error") == []
    assert events[-1]["error"]["message"] == "the key is refused"


def test_the_policy_is_spelt_as_its_option(rows: SessionRows, info: RunInfo) -> None:
    begun = events_of(rows, dataclasses.replace(info, approval_policy="OnRequest"))[0]
    assert begun["approval_policy"] == "on-request"


def test_a_retry_is_no_failure_and_says_until_when(rows: SessionRows, info: RunInfo) -> None:
    rows.retried(conditions.REASON_MODEL_RATE_LIMITED, "slow down", "2026-03-04T12:03:10Z", attempt=2)
    ((stage, item),) = items_of(events_of(rows, info), "error")
    assert stage == "item.completed"
    assert (item["code"], item["until"], item["attempt"]) == ("ModelRateLimited", "2026-03-04T12:03:10Z", 2)


def test_a_turn_that_ends_early_fails_with_a_code_and_what_it_used(rows: SessionRows, info: RunInfo) -> None:
    rows.event(TurnStarted(message=1))
    rows.used(10, 5)
    rows.event(TurnAborted(reason=conditions.REASON_STEP_LIMIT, message="50 steps"))
    last = events_of(rows, info)[-1]
    assert (last["type"], last["error"]["code"]) == ("turn.failed", "StepLimitReached")
    assert last["error"]["message"] == "50 steps (--max-steps)"
    assert last["usage"]["output_tokens"] == 5


def test_usage_counts_the_turn_and_each_request(rows: SessionRows, info: RunInfo) -> None:
    for number in (1, 2):
        rows.turn = number
        rows.event(TurnStarted(message=1))
        rows.used(10, 1, 2_500_000)
        rows.used(20, 2)
        rows.event(TurnComplete())
    events = events_of(rows, info)
    assert [event["usage"]["input_tokens"] for event in events if event["type"] == "request.usage"] == [10, 20, 10, 20]
    assert [event["usage"]["cost"] for event in events if event["type"] == "turn.completed"] == ["2.5", "2.5"]


def test_a_run_whose_turn_never_ended_says_so_at_its_end(rows: SessionRows) -> None:
    rows.event(TurnStarted(message=1))
    stream = EventStream()
    for row in rows.all:
        stream.show(row)
    (last,) = stream.end(outcome_of(rows.all))
    require_shape(last)
    assert (last["type"], last["code"]) == ("error", "TurnRunning")


def test_each_event_is_a_line_of_ascii_without_control_characters(rows: SessionRows, info: RunInfo) -> None:
    out = io.StringIO()
    presenter = JsonPresenter(out)
    presenter.begin(info)
    presenter.show(rows.said("a\x1b]0;x\x07\x7f\udc80\u202eé\nb"))
    lines = out.getvalue().splitlines()
    assert json.loads(lines[1])["item"]["text"] == "a\x1b]0;x\x07\x7f\udc80\u202eé\nb"
    assert all(line.isascii() and line.isprintable() for line in lines)


def test_a_reader_that_goes_away_does_not_stop_the_turn(rows: SessionRows, info: RunInfo) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as out:
        presenter = JsonPresenter(out)
        presenter.begin(info)
        presenter.show(rows.said("Anybody there?"))
        presenter.end(Outcome(1, "x", "y", "", SESSION))
        assert os.path.samestat(os.fstat(out.fileno()), os.stat(os.devnull)), "what is written later goes nowhere"


def test_nobody_can_be_asked_through_the_stream(rows: SessionRows) -> None:
    decision = asyncio.run(JsonPresenter(io.StringIO()).ask(Question("t1-c1-x", rows.command("make"), "")))
    assert (decision.approval_id, decision.kind) == ("t1-c1-x", DecisionKind.DENY)
    assert decision.reason
