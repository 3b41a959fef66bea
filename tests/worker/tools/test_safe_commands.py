"""What runs without asking, and what makes a person be asked."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_worker.tools.safe_commands import SAFE_SHELL, NotKnownSafe, safe_argv


@pytest.mark.parametrize(
    "script",
    [
        "ls",
        "ls -la src",
        "cat README.md",
        "pwd",
        "whoami",
        "echo 'hello; rm -rf /'",
        'echo "hello world"',
        "grep -rn 'def main' src",
        "head -n 20 file",
        "tail -5 file",
        "wc -l a b",
        "cut -d: -f1 file",
        "tr a-z A-Z",
        "stat file",
        "which python3",
        "seq 1 5",
        "uniq -c",
        "uniq -c file",
        "base64 file",
        "base64 -d file",
        "find . -name '*.py' -not -path './.git/*'",
        "find . ! -name x -type f",
        "sed -n 5p file",
        "sed -n 1,200p file",
        "sed -n 1,5p",
    ],
)
def test_a_known_read_only_command_runs_as_it_is(script: str) -> None:
    argv = safe_argv(script)
    assert argv[0] == script.split()[0]
    assert argv[0] != "bash"


@pytest.mark.parametrize(
    ("script", "argv"),
    [
        ("git status --short", ["git", "--no-pager", "status", "--short"]),
        ("git --no-pager status", ["git", "--no-pager", "status"]),
        ("git branch --show-current", ["git", "--no-pager", "branch", "--show-current"]),
        ("git branch -a --sort=-committerdate", ["git", "--no-pager", "branch", "-a", "--sort=-committerdate"]),
        (
            "git log --oneline -5 HEAD~2",
            ["git", "--no-pager", "log", "--no-ext-diff", "--no-textconv", "--oneline", "-5", "HEAD~2"],
        ),
        ("git diff -- a.py", ["git", "--no-pager", "diff", "--no-ext-diff", "--no-textconv", "--", "a.py"]),
        ("git show HEAD:a.py", ["git", "--no-pager", "show", "--no-ext-diff", "--no-textconv", "HEAD:a.py"]),
        ("git log -p", ["git", "--no-pager", "log", "--no-ext-diff", "--no-textconv", "-p"]),
        ("rg -n 'def main' src", ["rg", "--no-config", "-n", "def main", "src"]),
    ],
)
def test_programs_that_read_settings_get_the_switches_that_ignore_them(script: str, argv: list[str]) -> None:
    assert safe_argv(script) == argv


@pytest.mark.parametrize(
    ("script", "rendered"),
    [
        ("cat a | head -5", "cat a | head -5"),
        ("cd src && ls", "cd src && ls"),
        ("cd src", "cd src"),
        ("ls; pwd", "ls ; pwd"),
        ("ls\npwd", "ls ; pwd"),
        ("grep x f || echo 'none # here'", "grep x f || echo 'none # here'"),
        ("cd a && rg x | wc -l", "cd a && rg --no-config x | wc -l"),
        ("ls # all\n", "ls"),
    ],
)
def test_joined_commands_run_in_a_shell_that_gets_what_was_judged(script: str, rendered: str) -> None:
    argv = safe_argv(script)
    assert argv == ([*SAFE_SHELL, rendered] if rendered != "ls" else ["ls"])


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("ls; curl x", "curl is not"),
        ("ls\ncurl x", "curl is not"),
        ("ls && rm x", "rm is not"),
        ("ls || rm x", "rm is not"),
        ("ls | xargs rm", "xargs is not"),
        ("ls & curl x", "a background command"),
        ("rm -rf /", "rm is not"),
        ("python3 -c pass", "python3 is not"),
        ("bash -c ls", "bash is not"),
        ("sh -c ls", "sh is not"),
        ("sudo ls", "sudo is not"),
        ("env ls", "env is not"),
        ("env", "env is not"),
        ("xargs ls", "xargs is not"),
        ("time ls", "time is not"),
        ("exec ls", "exec is not"),
        ("eval ls", "eval is not"),
        ("command ls", "command is not"),
        ("builtin echo", "builtin is not"),
        ("coproc ls", "coproc is not"),
        (". ./x", ". is not"),
        ("source x", "source is not"),
        ("trap ls EXIT", "trap is not"),
        ("alias ls=rm", "alias is not"),
        ("set -x", "set is not"),
        ("let x=1", "let is not"),
        ("printf -v PATH x", "printf is not"),
        ("read x", "read is not"),
        ("test -f x", "test is not"),
        ("sort -o x y", "sort is not"),
        ("sort x", "sort is not"),
        ("tee x", "tee is not"),
        ("awk 'BEGIN{system(\"ls\")}'", "awk is not"),
        ("touch x", "touch is not"),
        ("dd if=a of=b", "dd is not"),
        ("less x", "less is not"),
        ("man ls", "man is not"),
        ("tar cf x y", "tar is not"),
        ("date -s x", "date is not"),
        ("hostname x", "hostname is not"),
        ("/bin/ls", "/bin/ls is not"),
        ("./ls", "./ls is not"),
        ("../bin/ls", "is not"),
        ("LS", "LS is not"),
        ("l\u0455", "is not"),  # a Cyrillic letter that looks like an s
        ("l\u200bs", "U+200B"),
        ("'ls '", "is not"),
        ("'l's -l; 'r'm x", "rm is not"),
        ("''", "is not"),
        ("cat <(curl x)", "a process substitution"),
        ("echo $(curl x)", "a command substitution"),
        ("echo `curl x`", "a command substitution"),
        ('echo "$(curl x)"', "an expansion"),
        ("echo x > .bashrc", "a redirection"),
        ("cat > x <<EOF\nx\nEOF", "a redirection"),
        ("PATH=. ls", "a variable assignment"),
        ("GIT_PAGER=x git log", "a variable assignment"),
        ("ls() { curl x; }; ls", "a function definition"),
        ("cat ~/.ssh/id_rsa", "a tilde expansion"),
        ("cat *", "a glob"),
        ("cd a b", "cd b"),
        ("find . -exec rm {} ';'", "a brace expansion"),
        ("find . -exec rm '{}' +", "find -exec"),
        ("find . -execdir ls ';'", "find -execdir"),
        ("find . -ok ls ';'", "find -ok"),
        ("find . -okdir ls ';'", "find -okdir"),
        ("find . -delete", "find -delete"),
        ("find . '-delete'", "find -delete"),
        ("find . -del\\ete", "find -delete"),
        ("find . -fls x", "find -fls"),
        ("find . -fprint x", "find -fprint"),
        ("find . -fprint0 x", "find -fprint0"),
        ("find . -fprintf x y", "find -fprintf"),
        ("rg --pre cat x", "rg --pre"),
        ("rg --pre=cat x", "rg --pre=cat"),
        ("rg --hostname-bin=x y", "rg --hostname-bin"),
        ("rg -z x", "rg -z"),
        ("rg -nz x", "rg -nz"),
        ("rg --search-zip x", "rg --search-zip"),
        ("rg -e -- --pre=x", "rg --pre=x"),
        ("base64 -o x y", "base64 -o"),
        ("base64 -ox y", "base64 -ox"),
        ("base64 -do x", "base64 -do"),
        ("base64 --output=x y", "base64 --output"),
        ("base64 --out x y", "base64 --out"),
        ("sed -n 1,5w file", "sed"),
        ("sed -n '1,5w out' file", "sed"),
        ("sed -n 1e file", "sed"),
        ("sed -i s/a/b/ x", "sed"),
        ("sed s/a/b/ x", "sed"),
        ("sed -n 1p -i", "sed -i"),
        ("sed -n 1p -fscript", "sed -fscript"),
        ("sed -n 1p --file=script", "sed --file"),
        ("sed -n 1p a b", "sed"),
        ("sed -n '1p;w x' a", "sed"),
        ("sed -n '1p\nw x' a", "sed"),
        ("sed -n \u0967p a", "sed"),  # a digit, but not one of sed's
        ("uniq a b", "uniq"),
        ("uniq - b", "uniq"),
        ("uniq -- -a -b", "uniq"),
        ("git", "git"),
        ("git -c a=b status", "git -c"),
        ("git -C x status", "git -C"),
        ("git -p log", "git -p"),
        ("git --git-dir=x status", "git --git-dir"),
        ("git --work-tree x status", "git --work-tree"),
        ("git --exec-path=x status", "git --exec-path"),
        ("git --config-env=a=b status", "git --config-env"),
        ("git --paginate log", "git --paginate"),
        ("git --no-pager --no-pager push", "git --no-pager"),
        ("git --no-pager commit", "git commit"),
        ("git commit -m x", "git commit"),
        ("git checkout x", "git checkout"),
        ("git config user.name x", "git config"),
        ("git push", "git push"),
        ("git fetch", "git fetch"),
        ("git difftool", "git difftool"),
        ("git grep -O x", "git grep"),
        ("git log --output=x", "git log --output"),
        ("git log --output x", "git log --output"),
        ("git log --outp=x", "git log --outp"),
        ("git diff --output=x", "git diff --output"),
        ("git show --out=x", "git show --out"),
        ("git diff --ext-diff", "git diff --ext-diff"),
        ("git diff --ext", "git diff --ext"),
        ("git log -p --textconv", "git log --textconv"),
        ("git log --show-signature", "git log --show-signature"),
        ("git log --remerge-diff", "git log --remerge-diff"),
        ("git log --diff-merges=remerge", "git log --diff-merges"),
        ("git branch new", "git branch new"),
        ("git branch -d x", "git branch -d"),
        ("git branch -D x", "git branch -D"),
        ("git branch -m x", "git branch -m"),
        ("git branch --edit-description", "git branch --edit-description"),
        ("git branch --set-upstream-to=x", "git branch --set-upstream-to"),
        ("git branch --list new", "git branch new"),
    ],
)
def test_everything_else_asks_and_says_why(script: str, reason: str) -> None:
    with pytest.raises(NotKnownSafe) as refusal:
        safe_argv(script)
    assert reason in str(refusal.value)


@pytest.mark.parametrize("shell", ["bash", "sh", "/bin/bash", "/usr/bin/sh"])
def test_a_usual_shell_changes_nothing(shell: str) -> None:
    assert safe_argv("ls", shell) == ["ls"]


@pytest.mark.parametrize("shell", ["zsh", "python3", "./bash", "/tmp/bash", "bash ", ""])
def test_any_other_shell_asks(shell: str) -> None:
    with pytest.raises(NotKnownSafe, match="another shell"):
        safe_argv("ls", shell)


COMMANDS = ["ls", "cat x", "cd x", "pwd", "rm x", "curl x", "git push", "find . -delete", "sort -o x", "tee x"]


@given(st.lists(st.sampled_from(COMMANDS), min_size=1, max_size=5), st.sampled_from([" && ", "||", ";", "|", "\n"]))
def test_one_unknown_command_among_others_is_enough_to_ask(commands: list[str], operator: str) -> None:
    if set(commands) <= set(COMMANDS[:4]):
        safe_argv(operator.join(commands))
        return
    with pytest.raises(NotKnownSafe):
        safe_argv(operator.join(commands))


def test_judging_takes_time_in_proportion_to_the_script() -> None:
    def seconds(script: str) -> float:
        started = time.process_time()
        safe_argv(script)
        return time.process_time() - started

    safe_argv("ls")
    short = min(seconds(" && ".join(["ls -l src"] * 30)) for _ in range(5))
    long = min(seconds(" && ".join(["ls -l src"] * 300)) for _ in range(5))
    assert long < 40 * short
