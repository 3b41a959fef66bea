"""The policy OnRequest: the sandbox is the boundary; forced deletes, dotfiles and what the model marks are asked."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_api.rows import Classification, SessionSettings, ToolCallPayload
from codex_api.session import ApprovalPolicy
from codex_worker.tools.call_context import CallContext
from codex_worker.tools.prepare import is_costly_to_judge, prepare_reply
from codex_worker.tools.risks import asks_on_request
from codex_worker.tools.safe_commands import NotKnownSafe, safe_argv


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
        'sh -c"rm -rf x"',
        "env -S 'rm -rf x'",
        "env -iS'rm -rf x'",
        "env --split-string='sh -c' 'rm -rf x'",
        "rm $'-rf' x",
        "$'\\x72m' -rf x",
        'rm $"-rf" x',
        "rm -{r,f} x",
        "eval rm '-rf' x",
        "eval 'rm' \"'-rf' x\"",
        "su -c 'rm -rf x'",
        "bash <<'EOF'\nrm -rf src\nEOF",
        "sudo -n bash -s <<-EOF | cat\n\trm -rf src\nEOF",
        "source /dev/stdin <<EOF\nrm -rf $x\nEOF",
        "sh <<< 'rm -rf src'",
        'sh <<<"rm -rf $x"',
        "sh <<< $'rm -\\x72f src'",
        "echo 'rm -rf src' | sh",
        "echo 'rm -rf src' | $SHELL",
        "echo 'rm -rf src' | ${SHELL:-sh} -s",
        "yes 'rm -rf src' | sh",
        "exec 3<<< 'rm -rf src'; . /dev/fd/3",
        "builtin . /dev/stdin <<< 'rm -rf src'",
        "printf 'rm -rf %s' src | tee log | bash",
        "cat > x.sh <<EOF\nrm -rf src\nEOF\nbash x.sh",
        "bash <<'A'\nsh <<'B'\nrm -rf src\nB\nA",
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
        "cd .git && echo x > config",
        "cd .git; cd hooks; tee x < y",
        "pushd -n .git && touch x",
        "cd a && cd ../.git/hooks && cp /tmp/x .",
        "(cd .git && echo x > config)",
        "command cd .git && echo x > config",
        "cd .git && bash -c 'echo x>config'",
        "eval cd .git '&&' touch x",
        "cp -t .git/hooks x",
        "cp -vt.git/hooks x",
        "cp --target-directory=.git/hooks x",
        "mv --target .git x",
        "install -Dt .git/hooks x",
        "install -d .git/a b",
        "cp /tmp/.bashrc ./",
        "dd if=x of=.git/config",
        "sudo tee .git/config",
        "sudo -u git tee .git/config",
        "ls | xargs -I{} cp {} .git/hooks",
        "find .git -type f -delete",
        "find x -exec cp {} .git/hooks +",
        "perl -pi -e s/a/b/ .env",
        "sed -Ei s/a/b/ .env",
        "echo x > $'.git/config'",
        "git config core.hooksPath x",
        "git -C sub -c a=b config --unset core.hooksPath",
        "git config set core.hooksPath x",
        "env A=1 git config --global --edit",
        "bash -s <<EOF\necho x > .git/config\nEOF",
        "perl -0777pi -e s/a/b/ .env",
        "perl -0pi -e s/a/b/ .env",
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
        "cd .github && cat workflows/ci.yml",
        "cd src && make > ../build.log && cd ..",
        "cp -t build x",
        "cp a b ./",
        "dd if=.env of=copy",
        "env -u HOME ls",
        "eval 'ls x'",
        "git config --get user.name",
        "git config user.name",
        "git config list",
        "git commit -m config",
        "find . -not -path './.git/*' -name '*.pyc' -delete",
        "sudo -u git ls .git",
        "printf $'a\\tb\\n' > out",
        "cat > notes <<EOF\nrm -rf build\nEOF\ngit add .",
        "bash <<EOF\nls\nEOF",
        "echo 'ls -l' | sh",
        "echo 'see: rm -rf x' > notes",
        "grep 'rm -rf' *.sh <<< 'rm -rf x'",
    ],
)
def test_everything_else_runs_unasked(cmd: str) -> None:
    assert not asks(cmd)


def test_what_the_model_marks_as_escalated_asks_and_says_why() -> None:
    call = judged(
        ApprovalPolicy.ON_REQUEST, cmd="ls", sandbox_permissions="require_escalated", justification="May I\nlook?"
    )
    assert call.classification is Classification.ASK
    assert call.justification == "May I⏎look?"
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


@pytest.mark.parametrize(
    "script",
    [
        "eval " + " ".join(f"'a {number}'" for number in range(14_000)),
        "bash " + " ".join(f"'a {number}'" for number in range(14_000)),
        "sudo " + "tee " * 30_000,
        "env " * 32_000,
        "cd a;" * 60 + "touch " + "x " * 60_000,
        "$'" * 60_000,
        "|" * 120_000,
    ],
)
def test_a_reply_of_costly_scripts_is_judged_within_a_second(script: str) -> None:
    items = [
        {"type": "function_call", "name": "exec_command", "call_id": str(number), "arguments": arguments}
        for number, arguments in enumerate([json.dumps({"cmd": script[:131_000]})] * 3)
    ]
    assert is_costly_to_judge(items)
    settings = SessionSettings(approval_policy=ApprovalPolicy.ON_REQUEST, preview_bytes=256 * 1024)
    context = CallContext(session="uid-1", turn=1, step=1, settings=settings, nonce="n")
    began = time.thread_time()
    calls = prepare_reply(items, context)
    # The deadline is 0.25 s; far from it, a quadratic rule takes minutes.
    assert time.thread_time() - began < 1
    assert len(calls) == 3


def test_what_is_not_judged_in_time_asks() -> None:
    past = time.thread_time() - 1
    assert asks_on_request("ls", "/workspace", "/workspace", past)
    with pytest.raises(NotKnownSafe):
        safe_argv("ls", ends=past)
    assert not is_costly_to_judge([{"type": "function_call", "name": "exec_command", "arguments": "{}"}])


def test_a_patch_in_a_shell_asks_where_it_is_marked_as_escalated() -> None:
    patch = "apply_patch <<'EOF'\n*** Begin Patch\n*** Add File: a\n+x\n*** End Patch\nEOF\n"
    assert not asks(patch)
    assert asks(patch, sandbox_permissions="require_escalated")
    never = judged(ApprovalPolicy.NEVER, cmd=patch, sandbox_permissions="require_escalated")
    assert never.classification is Classification.AUTOMATIC


@given(st.text(max_size=300) | st.text(alphabet="rm -f;&|()'\"$`{}<>\n\\", max_size=80))
def test_a_forced_delete_asks_whatever_comes_after_it(script: str) -> None:
    assert asks_on_request(f"rm -f x\n{script}", "/workspace/a", "/workspace")
