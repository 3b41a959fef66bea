"""A reply's calls, judged: what would run, whether somebody is asked, and what the model is told of the rest."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_api.approvals import approval_id
from codex_api.rows import Classification, SessionSettings, ToolCallPayload
from codex_api.session import ApprovalPolicy
from codex_sandbox.digest import command_digest, write_digest
from codex_worker.tools.call_context import CallContext
from codex_worker.tools.prepare import PreparedCall, prepare_reply

CONTEXT = CallContext(session="uid-1", turn=2, step=3, settings=SessionSettings(), nonce="n0")
TRUSTING = dataclasses.replace(CONTEXT, settings=SessionSettings(approval_policy=ApprovalPolicy.NEVER))


def item(arguments: Any, name: str = "exec_command", call_id: str = "call_1") -> dict[str, Any]:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return {"type": "function_call", "name": name, "call_id": call_id, "arguments": text}


def prepared(arguments: Any, name: str = "exec_command", context: CallContext = CONTEXT) -> PreparedCall:
    [call] = prepare_reply([item(arguments, name)], context)
    return call


def payload(arguments: Any, name: str = "exec_command", context: CallContext = CONTEXT) -> ToolCallPayload:
    return prepared(arguments, name, context).payload


def test_a_known_read_only_command_runs_unasked_with_nothing_writable_to_steer_it() -> None:
    call = payload({"cmd": "ls -l"})
    assert call.classification is Classification.AUTOMATIC
    assert call.argv == ["ls", "-l"]
    assert call.directory == "/workspace"
    assert (call.call_id, call.provider_call_id, call.tool, call.preview) == (
        "t2.s3.c0",
        "call_1",
        "exec_command",
        "ls -l",
    )
    assert call.environment["HOME"] == "/nonexistent"
    assert "/workspace" not in call.environment["PATH"]
    assert call.environment["GIT_CONFIG_KEY_1"] == "core.hooksPath"
    assert (call.approval_id, call.nonce) == ("", "")
    assert call.digest == command_digest(["ls", "-l"], "/workspace", None, call.environment, False)


def test_another_command_asks_and_runs_as_the_model_wrote_it() -> None:
    cmd = "pip install -r requirements.txt  # as asked"
    call = payload({"cmd": cmd})
    assert call.classification is Classification.ASK
    assert call.argv == ["bash", "-lc", cmd]
    assert "HOME" not in call.environment
    assert "PATH" not in call.environment
    assert call.environment["CODEX_SESSION_ID"] == "uid-1"
    assert (call.preview, call.truncated) == (cmd, False)
    assert call.digest == command_digest(call.argv, "/workspace", None, call.environment, False)
    assert call.approval_id == approval_id("uid-1", call.nonce, call.digest, 2, 1)


@pytest.mark.parametrize(
    ("arguments", "argv"),
    [
        ({"cmd": "make", "login": False}, ["bash", "-c", "make"]),
        ({"cmd": "make", "shell": "/bin/zsh"}, ["/bin/zsh", "-lc", "make"]),
        ({"cmd": "ls", "shell": "/workspace/ls"}, ["/workspace/ls", "-lc", "ls"]),
        ({"cmd": "ls && pwd"}, ["bash", "--noprofile", "--norc", "-c", "ls && pwd"]),
    ],
)
def test_the_shell_is_the_one_named(arguments: dict[str, Any], argv: list[str]) -> None:
    assert payload(arguments).argv == argv


def test_a_shell_of_the_models_choice_is_shown_to_the_approver() -> None:
    call = payload({"cmd": "ls", "shell": "/workspace/evil"})
    assert call.classification is Classification.ASK
    assert call.preview == "/workspace/evil -lc ls"


def test_policy_never_asks_for_nothing_and_runs_as_written() -> None:
    for arguments, name in (({"cmd": "ls"}, "exec_command"), ({"cmd": "rm -rf /"}, "exec_command")):
        call = payload(arguments, name, TRUSTING)
        assert call.classification is Classification.AUTOMATIC
        assert call.argv == ["bash", "-lc", arguments["cmd"]]
        assert "HOME" not in call.environment
    long = payload({"cmd": "echo " + "x" * 5000}, context=TRUSTING)
    assert (long.classification, long.truncated) == (Classification.AUTOMATIC, True)
    written = payload({"session_id": 1, "chars": "y\n"}, "write_stdin", TRUSTING)
    assert written.classification is Classification.AUTOMATIC


def test_waiting_for_a_process_runs_unasked_and_writing_to_it_asks() -> None:
    poll = payload({"session_id": 5}, "write_stdin")
    assert (poll.classification, poll.argv, poll.preview) == (Classification.AUTOMATIC, [], "wait for process 5")
    assert poll.digest == write_digest(5, "")
    written = payload({"session_id": 5, "chars": "y\n\x03"}, "write_stdin")
    assert written.classification is Classification.ASK
    assert written.preview == "write to process 5: y⏎⟨U+0003⟩"
    assert written.digest == write_digest(5, "y\n\x03")
    assert written.approval_id == approval_id("uid-1", written.nonce, written.digest, 2, 1)


@pytest.mark.parametrize(
    ("workdir", "directory"),
    [
        (None, "/workspace"),
        ("", "/workspace"),
        (".", "/workspace"),
        ("src/../lib", "/workspace/lib"),
        ("src//a/", "/workspace/src/a"),
        ("/tmp", "/tmp"),
        ("//tmp", "/tmp"),
        ("../../..", "/"),
    ],
)
def test_directories_are_absolute_and_normal(workdir: str | None, directory: str) -> None:
    assert payload({"cmd": "ls", "workdir": workdir}).directory == directory


def test_a_directory_that_cannot_be_shown_is_refused() -> None:
    call = prepared({"cmd": "make", "workdir": "src\u202egpj"})
    assert call.payload.classification is Classification.MALFORMED


def test_a_command_that_cannot_be_shown_whole_is_never_asked_for() -> None:
    call = prepared({"cmd": "touch " + "x" * 2048})
    assert call.payload.classification is Classification.FORBIDDEN
    assert (call.payload.argv, call.payload.digest, call.payload.approval_id) == ([], "", "")
    assert call.payload.truncated
    assert call.payload.preview.endswith("…")
    assert call.output is not None
    assert "2048 bytes" in call.output["output"]
    written = prepared({"session_id": 1, "chars": "x" * 3000}, "write_stdin")
    assert written.payload.classification is Classification.FORBIDDEN


def test_an_unknown_tool_is_answered_by_its_name() -> None:
    call = prepared({}, name="browse")
    assert call.payload.classification is Classification.UNKNOWN_TOOL
    assert call.output == {"type": "function_call_output", "call_id": "call_1", "output": "unsupported call: browse"}
    strange = prepared({}, name="a\u202eb" * 100)
    assert "\u202e" not in strange.payload.tool


def test_arguments_that_cannot_be_used_are_answered_with_the_reason() -> None:
    call = prepared("{}")
    assert call.payload.classification is Classification.MALFORMED
    assert call.payload.arguments == {}
    assert call.output is not None
    assert call.output["output"] == "failed to parse function arguments: missing field `cmd`"
    assert prepare_reply([{"type": "function_call", "name": "exec_command", "call_id": "c"}], CONTEXT)[0].output


def test_a_mixed_reply_is_judged_call_by_call() -> None:
    calls = prepare_reply(
        [
            {"type": "reasoning", "id": "r"},
            item({"cmd": "ls"}, call_id="a"),
            item({"cmd": "make"}, call_id="b"),
            {"type": "message", "role": "assistant", "content": []},
            item("nonsense", call_id="c"),
            item({"cmd": "make"}, call_id="d"),
            item({"cmd": "ls"}, call_id="a"),
        ],
        dataclasses.replace(CONTEXT, asked_before=4),
    )
    assert [call.payload.classification for call in calls] == [
        Classification.AUTOMATIC,
        Classification.ASK,
        Classification.MALFORMED,
        Classification.ASK,
        Classification.MALFORMED,
    ]
    assert [call.payload.call_id for call in calls] == [f"t2.s3.c{index}" for index in range(5)]
    assert [call.payload.approval_id[:6] for call in calls if call.payload.approval_id] == ["t2-c5-", "t2-c6-"]
    assert calls[4].output is not None
    assert "another call of the same reply" in calls[4].output["output"]


def test_two_calls_that_would_run_the_same_need_two_approvals() -> None:
    first, second = prepare_reply([item({"cmd": "make"}, call_id="a"), item({"cmd": "make"}, call_id="b")], CONTEXT)
    assert first.payload.digest == second.payload.digest
    assert first.payload.approval_id.rpartition("-")[2] != second.payload.approval_id.rpartition("-")[2]


@pytest.mark.parametrize(
    "changed",
    [
        {"cmd": "make all"},
        {"cmd": "make", "workdir": "x"},
        {"cmd": "make", "shell": "sh"},
        {"cmd": "make", "login": False},
        {"cmd": "make", "tty": True},
    ],
)
def test_an_approval_holds_for_exactly_what_was_shown(changed: dict[str, Any]) -> None:
    one, other = payload({"cmd": "make"}), payload(changed)
    assert one.approval_id.rpartition("-")[2] != other.approval_id.rpartition("-")[2]


def test_an_approval_of_another_session_or_life_matches_nothing() -> None:
    others = (CONTEXT, dataclasses.replace(CONTEXT, session="uid-2"), dataclasses.replace(CONTEXT, nonce="n1"))
    ids = {payload({"cmd": "make"}, context=context).approval_id.rpartition("-")[2] for context in others}
    assert len(ids) == 3


def test_judging_is_repeatable() -> None:
    assert payload({"cmd": "make"}) == payload({"cmd": "make"})


@given(
    st.fixed_dictionaries(
        {"cmd": st.text() | st.sampled_from(["ls", "make"])},
        optional={"workdir": st.text(), "shell": st.text(), "tty": st.booleans(), "login": st.booleans()},
    )
)
def test_whatever_a_model_asks_for_is_judged_consistently(arguments: dict[str, Any]) -> None:
    call = prepared(arguments)
    judged = call.payload
    runs_or_asks = judged.classification in (Classification.AUTOMATIC, Classification.ASK)
    assert (call.output is None) == runs_or_asks
    assert bool(judged.argv) == bool(judged.digest) == runs_or_asks
    assert bool(judged.approval_id) == (judged.classification is Classification.ASK)
    if judged.classification is Classification.ASK:
        assert not judged.truncated
        assert judged.argv[-1] == arguments["cmd"]
    ToolCallPayload.model_validate_json(judged.model_dump_json())
