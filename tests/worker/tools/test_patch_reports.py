"""What a sandbox says of a patch is bounded, typed, and never believed beyond that."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_api.rows import Classification, ToolCallPayload
from codex_sandbox.protocol import CommandReply
from codex_worker.handlers.requests import command_of, command_result
from codex_worker.tools.apply_patch import BadReport, read_report
from codex_worker.tools.output import call_output

REPORT = {
    "exit_code": 0,
    "text": "Success. Updated the following files:\nA a.txt\n",
    "changes": [{"path": "a.txt", "kind": "add", "move_path": None}],
    "diff": "--- /dev/null\n+++ b/a.txt\n@@ -0,0 +1 @@\n+hello\n",
    "diff_truncated": False,
}
CALL = ToolCallPayload(
    call_id="t2.s1.c0",
    provider_call_id="call_1",
    index=0,
    tool="apply_patch",
    classification=Classification.AUTOMATIC,
    argv=["codex-apply-patch", "--report", "--turn", "2"],
    directory="/workspace",
    stdin="the patch",
    digest="sha256:x",
    custom=True,
)


def reply(output: Any = REPORT, exit_code: int | None = 0, omitted_at: int | None = None) -> CommandReply:
    text = output if isinstance(output, str) else json.dumps(output, ensure_ascii=False)
    return CommandReply(
        output=text,
        output_bytes=len(text),
        omitted_bytes=0,
        omitted_at=omitted_at,
        exit_code=exit_code,
        signal=None,
        process=None,
        wall_time_seconds=0.123,
    )


def test_a_report_becomes_the_result_its_changes_and_the_diff_of_the_turn() -> None:
    result, events = command_result(CALL, reply(), "Note.\n")
    text = "Note.\nExit code: 0\nWall time: 0.1 seconds\nOutput:\nSuccess. Updated the following files:\nA a.txt\n"
    assert result.item == call_output("call_1", text, custom=True)
    assert (result.exit_code, result.outcome) == (0, "completed")
    assert [change.model_dump() for change in result.changes] == REPORT["changes"]
    assert [(event.turn, event.unified_diff, event.truncated) for event in events] == [(2, REPORT["diff"], False)]


def test_a_patch_that_failed_is_told_by_its_message_alone() -> None:
    message = "apply_patch verification failed: Failed to find expected lines in /workspace/a.txt:\nx"
    failed = {"exit_code": 1, "text": message, "changes": [], "diff": "", "diff_truncated": False}
    result, events = command_result(CALL, reply(failed, 1), "")
    assert (result.item["output"], result.exit_code, events) == (message, 1, [])


def test_a_patch_that_took_everything_back_is_news_too() -> None:
    _, events = command_result(CALL, reply({**REPORT, "diff": ""}), "")
    assert [event.unified_diff for event in events] == [""]


def test_a_separator_that_is_no_line_break_does_not_cut_a_report() -> None:
    odd = {**REPORT, "diff": "+a\u2028b\x85c\n"}
    assert read_report(reply(odd)).diff == odd["diff"]


def test_a_warning_before_the_report_is_passed_over() -> None:
    assert read_report(reply("warning: slow disk\n" + json.dumps(REPORT) + "\n")).exit_code == 0


@pytest.mark.parametrize(
    "bad",
    [
        reply(""),
        reply("bash: codex-apply-patch: command not found", 127),
        reply("[]"),
        reply("[" * 100_000),
        reply({**REPORT, "exit_code": 1}),
        reply({**REPORT, "exit_code": True}),
        reply({**REPORT, "changes": [{"path": "a", "kind": "chmod"}]}),
        reply({**REPORT, "changes": [{"path": "", "kind": "add"}]}),
        reply({**REPORT, "changes": [{"path": "a", "kind": "add"}] * 3000}),
        reply({**REPORT, "diff": "x" * 300_000}),
        reply({**REPORT, "text": None}),
        reply(REPORT, exit_code=None),
        reply(REPORT, omitted_at=5),
    ],
)
def test_a_bad_report_is_a_failed_result(bad: CommandReply) -> None:
    with pytest.raises(BadReport):
        read_report(bad)
    result, events = command_result(CALL, bad, "")
    assert (result.outcome, events, result.changes) == ("failed", [], [])
    assert result.item["output"].startswith("failed: ")
    assert len(result.item["output"]) < 1200


@pytest.mark.parametrize("output", ["", "\n", "a warning"])
def test_a_program_that_was_killed_says_so_to_the_model(output: str) -> None:
    result, _ = command_result(CALL, reply(output, 137), "")
    told = result.item["output"]
    assert told.startswith("failed: codex-apply-patch was killed, probably for lack of memory. ")
    assert told.endswith("large files by a command instead" + (": a warning" if output.strip() else ""))


@pytest.mark.parametrize("output", ["", " \n"])
def test_nothing_is_quoted_of_a_program_that_said_nothing(output: str) -> None:
    result, _ = command_result(CALL, reply(output, 1), "")
    assert result.item["output"] == "failed: codex-apply-patch ended with code 1 and no report"


@given(st.text(), st.none() | st.integers(0, 255))
def test_whatever_comes_back_is_a_result(output: str, exit_code: int | None) -> None:
    result, _ = command_result(CALL, reply(output, exit_code), "")
    assert result.item["call_id"] == "call_1"


def test_the_patch_is_given_time_and_room_for_its_report() -> None:
    command = command_of(CALL, "boot")
    assert (command.stdin, command.yield_time_ms, command.max_output_bytes) == ("the patch", 300_000, 1024 * 1024)
