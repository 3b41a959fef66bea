from __future__ import annotations

import io
import json
import os
from dataclasses import replace

from codex_api import conditions
from codex_api.approvals import DecisionKind
from codex_api.events import ApprovalDecided, CompactionSkipped, TurnComplete, TurnDiff, TurnFailed, TurnStarted
from codex_client.view.outcome import outcome_of
from codex_client.view.plain import PlainPresenter
from codex_client.view.presenter import Outcome, RunInfo
from codex_client.view.testing import BEGINNING, SESSION, SessionRows


def shown(rows: SessionRows, info: RunInfo) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    view = PlainPresenter(out, err)
    view.begin(info)
    for row in rows.all:
        view.show(row)
    view.end(outcome_of(rows.all))
    return out.getvalue(), err.getvalue()


def turn(rows: SessionRows, message: str) -> None:
    rows.event(TurnStarted(message=rows.message("Do it.").seq))
    rows.ended(rows.command("make test"), "all good\n", duration_seconds=2)
    rows.event(TurnDiff(unified_diff="--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n"))
    said = rows.said(message)
    rows.used(10, 2)
    rows.event(TurnComplete(last_agent_message=message[:1000], message_seq=said.seq))


def test_standard_output_is_the_final_message_and_nothing_else(rows: SessionRows, info: RunInfo) -> None:
    answer = json.dumps({"ok": True, "text": "a\tb é"}, ensure_ascii=False)
    turn(rows, answer)
    out, err = shown(rows, info)
    assert out == answer + "\n"
    assert "> Do it." in err


def test_progress_is_told_in_the_order_in_which_it_happened(rows: SessionRows, info: RunInfo) -> None:
    turn(rows, "Done.")
    _, err = shown(rows, info)
    expected = [
        "session 5f0c2a52",
        "> Do it.",
        "✓ make test  2.0s",
        "    all good",
        "  Done.",
        "✎ x  +1 -1",
        "12 tokens",
    ]
    positions = [err.index(text) for text in expected]
    assert positions == sorted(positions)


def test_what_the_model_thought_is_told(rows: SessionRows, info: RunInfo) -> None:
    rows.reasoned("First the tests.\nThen the rest.")
    _, err = shown(rows, info)
    assert "  First the tests.\n  Then the rest.\n" in err


def test_a_compaction_that_the_limits_do_not_allow_is_told_with_what_it_needs(rows: SessionRows, info: RunInfo) -> None:
    rows.event(CompactionSkipped(reason="requested", message="used 9 of its 10 tokens"))
    _, err = shown(rows, info)
    assert "the conversation was not summarised: used 9 of its 10 tokens" in err


def test_the_head_spells_the_policy_as_its_option(rows: SessionRows, info: RunInfo) -> None:
    _, err = shown(rows, replace(info, approval_policy="OnRequest"))
    assert "approvals on-request" in err


def test_a_failure_that_ends_the_turn_at_once_is_told_once(rows: SessionRows, info: RunInfo) -> None:
    rows.event(TurnStarted(message=rows.message("Do it.").seq))
    rows.retried(conditions.REASON_PROVIDER_UNAUTHORIZED, "the key is refused", BEGINNING.isoformat())
    rows.event(TurnFailed(reason=conditions.REASON_PROVIDER_UNAUTHORIZED, message="the key is refused"))
    _, err = shown(rows, info)
    assert err.count("refuse") == 1
    assert "waiting" not in err


def ended_with(message: str, reason: str) -> str:
    err = io.StringIO()
    PlainPresenter(io.StringIO(), err).end(Outcome(1, reason, message, "", SESSION))
    return err.getvalue()


def test_whatever_ended_a_run_the_command_that_goes_on_is_told_once() -> None:
    command = f"codex-temporal resume {SESSION[:8]}"
    assert ended_with("the disk is full", conditions.REASON_TURN_RUNNING).endswith(f"\n  go on with: {command}\n")
    assert ended_with("make: denied", conditions.REASON_TURN_COMPLETE).endswith(f'\n  go on with: {command} "…"\n')
    assert ended_with(f"stopped; go on with: {command}", conditions.REASON_INTERRUPTED).count(command) == 1


def test_a_refusal_is_told_once_with_who_and_why(rows: SessionRows, info: RunInfo) -> None:
    call = rows.command("rm -rf build")
    decided = ApprovalDecided(
        approval_id="a", call_id=call.call_id, decision=DecisionKind.DENY, decided_by="alice", reason="not today"
    )
    rows.event(decided)
    rows.ended(call, "The call was not run. rejected by user: not today", None, outcome="denied")
    _, err = shown(rows, info)
    assert "✗ rm -rf build  denied by alice: not today\n" in err
    assert err.count("not today") == 1


def test_a_call_that_could_not_be_run_says_why(rows: SessionRows, info: RunInfo) -> None:
    rows.ended(rows.call("no_such"), "unsupported call: no_such", None, outcome="refused")
    _, err = shown(rows, info)
    assert "✗ no_such  refused\n    unsupported call: no_such\n" in err


def test_progress_holds_no_control_characters(rows: SessionRows, info: RunInfo) -> None:
    turn(rows, "\x1b[31mred\x1b[0m \u202e evil")
    _, err = shown(rows, info)
    assert all(character.isprintable() or character == "\n" for character in err)


def test_a_reader_of_progress_that_goes_away_does_not_stop_the_turn(rows: SessionRows, info: RunInfo) -> None:
    turn(rows, "Done.")
    reader, writer = os.pipe()
    os.close(reader)
    out = io.StringIO()
    with os.fdopen(writer, "w") as err:
        view = PlainPresenter(out, err)
        view.begin(info)
        for row in rows.all:
            view.show(row)
        view.end(outcome_of(rows.all))
    assert out.getvalue() == "Done.\n"
