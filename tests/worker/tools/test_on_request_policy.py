"""The policy OnRequest: the sandbox is the boundary; forced deletes, dotfiles and what the model marks are asked."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_api.rows import Classification, SessionSettings, ToolCallPayload
from codex_api.session import ApprovalPolicy
from codex_worker.tools.call_context import CallContext
from codex_worker.tools.prepare import prepare_reply
from codex_worker.tools.risks import asks_on_request


def judged(policy: ApprovalPolicy, name: str = "exec_command", **arguments: Any) -> ToolCallPayload:
    settings = SessionSettings(approval_policy=policy)
    context = CallContext(session="uid-1", turn=1, step=1, settings=settings, nonce="n")
    item = {"type": "function_call", "name": name, "call_id": "c", "arguments": json.dumps(arguments)}
    [call] = prepare_reply([item], context)
    return call.payload


def asks(cmd: str, **more: Any) -> bool:
    return judged(ApprovalPolicy.ON_REQUEST, cmd=cmd, **more).classification is Classification.ASK


@pytest.mark.parametrize(
    "cmd",
    [
        "rm -f x",
        "rm -rf build",
        "rm -r -f build",
        "rm --force x",
        "rm --fo x",
        "/bin/rm -f x",
        "\\rm -f x",
        "'rm' \"-f\" x",
        "sudo -n rm -f x",
        "env A=1 rm -f x",
        "A=1 rm -f x",
        "timeout 5 rm -f x",
        "ls && (cd a; rm -rf b)",
        "if true; then rm -f x; fi",
        "for f in a b; do rm -f $f; done",
        "echo $(rm -f x)",
        "cleanup() { rm -f x; }; cleanup",
        "trap 'rm -f x' EXIT",
        "bash -c 'rm -f x'",
        'bash -lc "cd a && rm -rf $DIR"',
        "sudo sh -c 'bash -c \"rm -f x\"'",
        "eval 'rm -f x'",
        "find . -name x -exec rm -f {} +",
        "ls | xargs rm -f",
        "cat <<EOF | xargs rm -f\nx\nEOF",
    ],
)
def test_a_forced_delete_asks_wherever_it_stands(cmd: str) -> None:
    assert asks(cmd)


@pytest.mark.parametrize(
    "cmd",
    [
        "echo x > .git/config",
        "echo x >> .bashrc",
        "echo x &> sub/.env",
        "tee .github/workflows/ci.yml < x",
        "touch .gitignore",
        "cp evil .git/hooks/pre-commit",
        "mv .env old",
        "rm .gitignore",
        "sed -i s/a/b/ .env",
        "mkdir -p ../.ssh",
        "bash -c 'echo x > .profile'",
    ],
)
def test_a_plain_write_to_a_dotfile_asks(cmd: str) -> None:
    assert asks(cmd)


@pytest.mark.parametrize(
    "cmd",
    [
        "rm x",
        "rm -r build",
        "rm -- -f",
        "make -f Makefile",
        "git rm -f x",
        "grep -rf patterns .",
        "cat .gitignore > copy",
        "cp .env.example config",
        "ls > out 2>&1",
        "echo hi > /dev/null",
        "cat < .env",
        "pip install -r requirements.txt",
        "sed -n 1p .env",
        "this is ((( not shell",
        "npm run rm-force",
    ],
)
def test_everything_else_runs_unasked(cmd: str) -> None:
    assert not asks(cmd)


def test_what_the_model_marks_as_escalated_asks_and_says_why() -> None:
    call = judged(
        ApprovalPolicy.ON_REQUEST, cmd="ls", sandbox_permissions="require_escalated", justification="May I\nlook?"
    )
    assert call.classification is Classification.ASK
    assert call.justification == "May I\\nlook?"
    assert "justification" not in call.arguments
    assert call.argv == ["bash", "-lc", "ls"]
    long = judged(ApprovalPolicy.ON_REQUEST, cmd="ls", justification="j" * 100_000)
    assert len(long.justification) <= 1024


def test_under_never_nothing_asks() -> None:
    for cmd, permissions in (("rm -rf /", "use_default"), ("ls", "require_escalated"), ("touch .git/x", "use_default")):
        call = judged(ApprovalPolicy.NEVER, cmd=cmd, sandbox_permissions=permissions)
        assert call.classification is Classification.AUTOMATIC


def test_writing_to_a_process_asks_under_untrusted_only() -> None:
    for policy in ApprovalPolicy:
        call = judged(policy, "write_stdin", session_id=1, chars="y\n")
        assert (call.classification is Classification.ASK) == (policy is ApprovalPolicy.UNTRUSTED)


def test_an_unknown_permission_is_malformed() -> None:
    call = judged(ApprovalPolicy.NEVER, cmd="ls", sandbox_permissions="root")
    assert call.classification is Classification.MALFORMED


@pytest.mark.parametrize("depth", [1, 4, 8])
def test_scripts_within_scripts_are_seen_to_a_depth(depth: int) -> None:
    script = "rm -f x"
    for _ in range(depth):
        script = "bash -c " + json.dumps(script)
    assert asks(script)


def test_endless_nesting_ends() -> None:
    nested = "ls"
    for _ in range(200):
        nested = f'bash "$(bash a {nested})" "b c"'
    asks_on_request(nested, "/workspace", "/workspace")
    assert asks_on_request("|" * 60_000, "/workspace", "/workspace")
    many = "eval " + " ".join(f"'{index} {'x' * 1000}'" for index in range(300))
    assert asks_on_request(many, "/workspace", "/workspace")
    asks_on_request("bash -c '" * 5000, "/workspace", "/workspace")
    asks_on_request("$(" * 20_000, "/workspace", "/workspace")


@given(st.text(max_size=300) | st.text(alphabet="rm -f;&|()'\"$`{}<>\n\\", max_size=80))
def test_any_script_is_judged(script: str) -> None:
    asks_on_request(script, "/workspace/a", "/workspace")
