"""Patches in each form a model sends them: what would run, and who is asked."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_api.rows import Classification, SessionSettings, ToolCallPayload
from codex_api.session import ApprovalPolicy
from codex_sandbox.digest import command_digest
from codex_worker.tools.call_context import CallContext
from codex_worker.tools.patch_in_shell import ShellPatch, patch_in_shell
from codex_worker.tools.prepare import PreparedCall, prepare_reply

PATCH = "*** Begin Patch\n*** Add File: src/a.txt\n+hello\n*** End Patch\n"


def context(policy: ApprovalPolicy, **settings: Any) -> CallContext:
    return CallContext(
        session="uid-1", turn=2, step=3, settings=SessionSettings(approval_policy=policy, **settings), nonce="n0"
    )


UNTRUSTED = context(ApprovalPolicy.UNTRUSTED)
ON_REQUEST = context(ApprovalPolicy.ON_REQUEST)
NEVER = context(ApprovalPolicy.NEVER)


def custom(text: Any, name: str = "apply_patch") -> dict[str, Any]:
    return {"type": "custom_tool_call", "name": name, "call_id": "call_1", "input": text}


def function(arguments: Any, name: str = "apply_patch") -> dict[str, Any]:
    return {"type": "function_call", "name": name, "call_id": "call_1", "arguments": json.dumps(arguments)}


def prepared(item: dict[str, Any], where: CallContext = UNTRUSTED) -> PreparedCall:
    [call] = prepare_reply([item], where)
    return call


def payload(item: dict[str, Any], where: CallContext = UNTRUSTED) -> ToolCallPayload:
    return prepared(item, where).payload


def heredoc(patch: str, before: str = "") -> str:
    return f"{before}apply_patch <<'EOF'\n{patch}EOF\n"


def test_each_form_runs_the_same_program_with_the_patch_on_its_input() -> None:
    forms = [custom(PATCH), function({"input": PATCH}), function({"cmd": heredoc(PATCH)}, "exec_command")]
    calls = [payload(form) for form in forms]
    for call in calls:
        assert call.tool == "apply_patch"
        assert call.argv == ["codex-apply-patch", "--report", "--turn", "2"]
        assert (call.stdin, call.directory, call.serial) == (PATCH, "/workspace", True)
        assert call.digest == command_digest(call.argv, "/workspace", PATCH, call.environment, False)
    assert len({call.digest for call in calls}) == 1
    assert [call.custom for call in calls] == [True, False, False]


def test_what_the_approver_sees_is_the_patch_itself() -> None:
    call = payload(custom(PATCH))
    assert call.classification is Classification.ASK
    assert call.preview == PATCH.replace("\n", "⏎")
    assert call.approval_id


def test_a_patch_longer_than_a_person_can_be_shown_is_refused_with_the_sessions_limit() -> None:
    long = PATCH.replace("hello", "x" * 3000)
    call = prepared(custom(long))
    assert call.payload.classification is Classification.FORBIDDEN
    assert call.output is not None
    assert call.output["type"] == "custom_tool_call_output"
    assert "2048 bytes" in call.output["output"]
    roomy = prepared(custom(long), context(ApprovalPolicy.UNTRUSTED, preview_bytes=10_000))
    assert (roomy.payload.classification, roomy.payload.truncated) == (Classification.ASK, False)


@pytest.mark.parametrize(
    ("paths", "asks"),
    [
        (["src/a.txt"], False),
        (["/workspace/src/a.txt"], False),
        (["src/../b.txt"], False),
        (["src/a.txt", "../b.txt"], True),
        (["/etc/passwd"], True),
        (["/workspace2/a"], True),
        ([".git/config"], True),
        (["sub/.git/hooks/x"], True),
        ([".gitignore"], True),
        ([".github/workflows/ci.yml"], True),
        (["a/./b"], False),
        (["..a/b"], True),
    ],
)
def test_on_request_asks_for_what_leaves_the_workspace_or_steers_programs(paths: list[str], asks: bool) -> None:
    body = "".join(f"*** Add File: {path}\n+x\n" for path in paths)
    call = payload(custom(f"*** Begin Patch\n{body}*** End Patch\n"), ON_REQUEST)
    assert (call.classification is Classification.ASK) == asks


def test_a_move_is_judged_by_where_it_goes() -> None:
    patch = "*** Begin Patch\n*** Update File: a\n*** Move to: .git/hooks/pre-commit\n@@\n-x\n+y\n*** End Patch\n"
    assert payload(custom(patch), ON_REQUEST).classification is Classification.ASK


def test_a_directory_of_dots_above_the_workspace_does_not_count() -> None:
    home = context(ApprovalPolicy.ON_REQUEST, workspace="/home/me/.cache/project")
    assert payload(custom(PATCH), home).classification is Classification.AUTOMATIC


def test_policy_never_applies_whatever_it_is() -> None:
    patch = PATCH.replace("src/a.txt", "/etc/passwd")
    assert payload(custom(patch), NEVER).classification is Classification.AUTOMATIC


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("no patch", "apply_patch verification failed: invalid patch: The first line of the patch must be"),
        ("*** Begin Patch\n*** Add File: a\n+x\n", "apply_patch verification failed: invalid patch: The last line"),
        (None, "failed to parse function arguments: `input` Input should be a valid string"),
        ("\ud800", "half of a surrogate pair"),
        ("x" * 1_100_000, "split the patch"),
    ],
)
def test_what_is_no_patch_is_answered_at_once(text: Any, problem: str) -> None:
    call = prepared(custom(text), NEVER)
    assert call.payload.classification is Classification.MALFORMED
    assert call.output is not None
    assert call.output["type"] == "custom_tool_call_output"
    assert problem in call.output["output"]


def test_an_unknown_custom_tool_is_answered_as_one() -> None:
    for name in ("browse", "exec_command"):
        call = prepared(custom("x", name))
        assert call.payload.classification is Classification.UNKNOWN_TOOL
        assert call.output == {
            "type": "custom_tool_call_output",
            "call_id": "call_1",
            "output": f"unsupported custom tool call: {name}",
        }


def test_a_patch_after_cd_starts_in_that_directory() -> None:
    item = function({"cmd": heredoc(PATCH, "cd 'my lib' && "), "workdir": "pkg"}, "exec_command")
    call = payload(item, ON_REQUEST)
    assert (call.tool, call.directory, call.stdin) == ("apply_patch", "/workspace/pkg/my lib", PATCH)
    outside = payload(function({"cmd": heredoc(PATCH, "cd .. && ")}, "exec_command"), ON_REQUEST)
    assert (outside.directory, outside.classification) == ("/", Classification.ASK)


def test_the_justification_of_an_intercepted_patch_is_kept() -> None:
    item = function({"cmd": heredoc(PATCH), "justification": "to\u202egreet"}, "exec_command")
    assert payload(item).justification == "to⟨U+202E⟩greet"


@pytest.mark.parametrize(
    "script",
    [
        heredoc(PATCH),
        heredoc(PATCH, "cd src && "),
        f'apply_patch <<"EOF"\n{PATCH}EOF',
        f"apply_patch <<EOF\n{PATCH}EOF\n\n",
        f"  apply_patch << 'PATCH'\n{PATCH}PATCH",
        f"applypatch <<'EOF'\n{PATCH}EOF",
        f"apply_patch '{PATCH}'",
        f'apply_patch "{PATCH}"',
    ],
)
def test_a_script_that_only_applies_a_patch_is_one(script: str) -> None:
    found = patch_in_shell(script)
    assert found is not None
    assert found.text == PATCH


@pytest.mark.parametrize(
    "script",
    [
        "apply_patch",
        heredoc(PATCH) + "rm x",
        heredoc(PATCH, "set -e; "),
        heredoc(PATCH, "cd $HOME && "),
        heredoc(PATCH, 'cd "$(pwd)" && '),
        heredoc(PATCH, "cd a; "),
        heredoc(PATCH, "cd a && rm b && "),
        heredoc(PATCH).replace("<<'EOF'", "<<'EOF' && rm x"),
        heredoc(PATCH + "EOF\nrm -rf x\n"),
        f"cat <<'EOF'\n{PATCH}EOF",
        f"apply_patch '{PATCH}' && rm x",
        f"apply_patch <<'EOF'\n{PATCH}",
        'apply_patch "$(cat patch)"',
    ],
)
def test_a_script_that_does_more_goes_to_the_shell(script: str) -> None:
    assert patch_in_shell(script) is None


@given(st.text(alphabet="ab \n'\"$`\\+-*E", max_size=40).filter(lambda text: "EOF" not in text.splitlines()))
def test_a_heredoc_gives_its_body_as_it_stands(body: str) -> None:
    assert patch_in_shell(f"apply_patch <<'EOF'\n{body}\nEOF\n") == ShellPatch(body + "\n", None)


@given(st.text(max_size=200))
def test_any_script_is_a_patch_or_is_not(script: str) -> None:
    for text in (script, f"apply_patch <<'EOF'\n{script}", f"apply_patch {script}"):
        found = patch_in_shell(text)
        assert found is None or found.text in text or "\\" in text


@given(st.text(max_size=200) | st.text().map(lambda text: PATCH.replace("hello", text)))
def test_any_input_is_judged_and_never_raises(text: str) -> None:
    for where in (UNTRUSTED, ON_REQUEST, NEVER):
        call = prepared(custom(text), where)
        runs_or_asks = call.payload.classification in (Classification.AUTOMATIC, Classification.ASK)
        assert (call.output is None) == runs_or_asks == bool(call.payload.digest)


def test_the_turn_is_part_of_what_runs() -> None:
    later = dataclasses.replace(UNTRUSTED, turn=3)
    assert payload(custom(PATCH), later).digest != payload(custom(PATCH)).digest
