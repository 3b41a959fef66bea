"""Scripts are read as a shell reads them, or not at all; the judge is a real bash."""

from __future__ import annotations

import shlex
import subprocess
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from codex_worker.tools.display import is_deceptive
from codex_worker.tools.shell_syntax import NotPlain, PlainCommand, parse_plain_commands, parse_tree, render

# Every command that bash runs ends here: the PATH is empty and the scripts use no builtin's name. Each writes a file of
# its own, for the two sides of a pipe write at the same time.
RECORD_EVERY_COMMAND = """
PATH=/nonexistent
command_not_found_handle() { printf '%s\\0' "$@" >"$folder/$BASHPID.$EPOCHREALTIME"; }
"""


def words(script: str) -> list[tuple[str, ...]]:
    return [command.words for command in parse_plain_commands(script)]


def commands_run_by_bash(scripts: Sequence[str]) -> list[Counter[tuple[str, ...]]]:
    """Run scripts in which every command succeeds; return for each the words of each command that ran."""
    with tempfile.TemporaryDirectory() as folder:
        steps = [RECORD_EVERY_COMMAND]
        for number, script in enumerate(scripts):
            Path(folder, str(number)).mkdir()
            steps.append(f"folder={number}; eval {shlex.quote(script)} || echo refused {number}")
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-c", "\n".join(steps)],
            env={"LC_ALL": "C.UTF-8"},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.stdout + done.stderr == "", f"bash refuses one of {scripts!r}"
        return [
            Counter(
                tuple(record.read_bytes().decode().split("\0")[:-1]) for record in Path(folder, str(number)).iterdir()
            )
            for number in range(len(scripts))
        ]


def commands_expected(commands: Sequence[PlainCommand]) -> Counter[tuple[str, ...]]:
    """Return the words of each command that runs if all succeed: what stands behind ``||`` does not."""
    ran, runs = [], True
    for command in commands:
        if runs:
            ran.append(command.words)
        if command.operator != "|":
            runs = command.operator != "||"
    return Counter(ran)


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("ls -l", [("ls", "-l")]),
        ("""echo 'a b' "c d" e\\ f""", [("echo", "a b", "c d", "e f")]),
        ("""echo "a"'b'c""", [("echo", "abc")]),
        ("""echo "say \\"hi\\" \\$x \\\\ \\n" """, [("echo", 'say "hi" $x \\ \\n')]),
        ("""echo "" ''""", [("echo", "", "")]),
        ('grep -E "foo$" x', [("grep", "-E", "foo$", "x")]),
        ("echo 'a\nb'", [("echo", "a\nb")]),
        ('echo "a\\\nb"', [("echo", "ab")]),
        ("git diff HEAD~1 a=b x^ 1 -5", [("git", "diff", "HEAD~1", "a=b", "x^", "1", "-5")]),
        ("find . ! -name x", [("find", ".", "!", "-name", "x")]),
        ("ls \\\n  -l", [("ls", "-l")]),
        ("ls # all of them", [("ls",)]),
        ("# first\nls\n\n# second\npwd\n", [("ls",), ("pwd",)]),
        ("ls;", [("ls",)]),
        ("ls é", [("ls", "é")]),
        ("\n\n ls", [("ls",)]),
    ],
)
def test_words_are_those_a_shell_would_pass(script: str, expected: list[tuple[str, ...]]) -> None:
    assert words(script) == expected


def test_operators_stand_between_the_commands_in_order() -> None:
    commands = parse_plain_commands("a && b || c; d | e\nf")
    assert [(command.words[0], command.operator) for command in commands] == [
        ("a", "&&"),
        ("b", "||"),
        ("c", ";"),
        ("d", "|"),
        ("e", ";"),
        ("f", ""),
    ]


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("", "no command"),
        ("# nothing", "no command"),
        ("ls > x", "a redirection"),
        ("ls >> x", "a redirection"),
        ("ls < x", "a redirection"),
        ("ls 2>&1", "a redirection"),
        ("ls &> x", "a redirection"),
        (">x", "a redirection"),
        ("cat <<EOF\nx\nEOF", "a redirection"),
        ("wc <<< a", "a here-string"),
        ("echo $(ls)", "a command substitution"),
        ("echo `ls`", "a command substitution"),
        ('echo "$(ls)"', "an expansion"),
        ('echo "`ls`"', "a command substitution"),
        ("echo $x", "an expansion"),
        ("echo ${x}", "an expansion"),
        ('echo "$x"', "an expansion"),
        ('echo "${x}"', "an expansion"),
        ('echo "$((1+1))"', "an expansion"),
        ('echo "$[1+1]"', "an expansion"),
        ("echo $((1+1))", "shell syntax"),
        ("echo $'a\\n'", "an ANSI-C string"),
        ("echo a$'b'", "an expansion"),
        ('echo $"hi"', "an expansion"),
        ("ls &", "a background command"),
        ("ls & pwd", "a background command"),
        ("! ls", "a negation"),
        ("(ls)", "a subshell"),
        ("{ ls; }", "a command group"),
        ("f() { ls; }", "a function definition"),
        ("FOO=1 ls", "a variable assignment"),
        ("FOO=1", "a variable assignment"),
        ("FOO=1 BAR=2", "a variable assignment"),
        ("PATH=. ls", "a variable assignment"),
        ("export A=b", "a declaration"),
        ("ls *.py", "a glob"),
        ("ls ?", "a glob"),
        ("ls [ab]", "a glob"),
        ("ls a{b,c}", "a brace expansion"),
        ("ls a{1..3}", "a brace expansion"),
        ("ls ~", "a tilde expansion"),
        ("ls ~/x", "a tilde expansion"),
        ("ls a=~", "a tilde expansion"),
        ("cat <(ls)", "a process substitution"),
        ("ls >(cat)", "a process substitution"),
        ("ls |& cat", "a pipe of standard error"),
        ("if true; then ls; fi", "shell syntax"),
        ("for x in a; do ls; done", "shell syntax"),
        ("while true; do ls; done", "shell syntax"),
        ("case a in a) ls;; esac", "shell syntax"),
        ("[[ a ]]", "a test expression"),
        ("[ a ]", "a test expression"),
        ("((x))", "a command group"),
        ("ls &&", "a syntax error"),
        ("ls |", "a syntax error"),
        ("&& ls", "a syntax error"),
        ("ls ;; pwd", "shell syntax"),
        ("echo 'a", "a syntax error"),
        ('echo "a', "a syntax error"),
        ("echo a\\", "a syntax error"),
        ("echo a\\\nb", "a word in several parts"),
        ("ls\r\npwd", "U+000D"),
        ("ls \x00", "U+0000"),
        ("ls \x1b[2K", "U+001B"),
        ("ls \x85pwd", "U+0085"),
        ("ls \u00a0x", "U+00A0"),
        ("ls \u202etxt", "U+202E"),
        ("ls a\u200bb", "U+200B"),
        ("ls \ud800", "U+D800"),
        ("ls " + "x" * 5000, "more than 4096 bytes"),
    ],
)
def test_anything_else_is_refused_with_the_reason(script: str, reason: str) -> None:
    with pytest.raises(NotPlain) as refusal:
        parse_plain_commands(script)
    assert reason in str(refusal.value)


plain_text = st.text(st.characters(exclude_categories=["Cs"]).filter(lambda c: not is_deceptive(c)), max_size=12)


@given(st.lists(plain_text, max_size=6))
def test_quoted_words_come_back_as_they_were(arguments: list[str]) -> None:
    script = " ".join(["ls", *("'" + word.replace("'", "'\"'\"'") + "'" for word in arguments)])
    assert words(script) == [("ls", *arguments)]


@given(st.lists(plain_text | st.text("=~!^+:,.%@-_/0123456789ab#", max_size=5), max_size=6))
def test_joined_words_come_back_as_they_were_or_are_refused(arguments: list[str]) -> None:
    try:
        found = words(shlex.join(["ls", *arguments]))
    except NotPlain:
        assume(False)
    assert found == [("ls", *arguments)]


# Letters that make no builtin's or keyword's name.
word_source = st.one_of(
    st.text("pqz-=:.,+%@^_~!#0159", min_size=1, max_size=6),
    st.text("pq $'\t\n;&|<>(){}*~#\\", max_size=6).map(lambda text: "'" + text.replace("'", "") + "'"),
    st.text("pq $'\t\n;&|<>(){}*~#", max_size=6).map(lambda text: f'"{text}"'),
    st.text("pq$'\"`\\ ~#&;|", min_size=1, max_size=4).map(lambda text: "".join("\\" + c for c in text)),
    st.sampled_from(['"\\$p"', '"p\\\nq"', '"\\`"', '"\\\\"', '"\\p"', '"p$"', '"p$ q"', "p#q", "p\\\nq", "é"]),
)
words_source = st.lists(st.lists(word_source, min_size=1, max_size=3).map("".join), min_size=1, max_size=4)
blank = st.sampled_from([" ", "  ", "\t", " \\\n", "\\\n "])
operator = st.sampled_from(
    ["&&", "||", ";", "|", "\n", " && ", "\n\n", " ;\n", " &&\n", "|\n ", " # q\n", "\\\n;", ";;", "&"]
)


@st.composite
def plain_scripts(draw: st.DrawFn) -> str:
    pieces = []
    for position in range(draw(st.integers(1, 4))):
        pieces += [draw(operator)] if position else []
        pieces.append(draw(blank).join(["z", *draw(words_source)]))
    return "".join(pieces) + draw(st.sampled_from(["", ";", "\n", " # p", " \\\n", "\n\n"]))


def assert_bash_agrees(scripts: Sequence[str]) -> None:
    """Compare the words of each accepted script, as written and as rendered, with those that bash passes."""
    sources, expected = [], []
    for script in scripts:
        try:
            commands = parse_plain_commands(script)
        except NotPlain:
            continue
        sources += [script, render(commands)]
        expected += [commands_expected(commands)] * 2
    assume(sources)
    assert commands_run_by_bash(sources) == expected


thorough = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@thorough
@given(st.lists(plain_scripts(), min_size=5, max_size=12))
def test_bash_runs_the_same_words_for_a_script_and_for_what_was_parsed_of_it(scripts: list[str]) -> None:
    assert_bash_agrees(scripts)


arbitrary_text = st.one_of(
    st.text("pqz'\"\\ \n\t;&|#$~={}*!-^0", min_size=1, max_size=16),
    st.text("pq$\\\\'`{ )|", min_size=2, max_size=6).map(lambda text: f'"{text}"'),
)


@thorough
@given(st.lists(arbitrary_text, min_size=10, max_size=40))
def test_bash_agrees_about_arbitrary_text_that_was_accepted(texts: list[str]) -> None:
    assert_bash_agrees([f"z {text}" for text in texts])


def test_hostile_nesting_costs_little() -> None:
    for script in ("(" * 4000, "$(" * 2000, "{ " * 2000, "if " * 1300, "`" * 4000, "ls<(" * 1000):
        with pytest.raises(NotPlain):
            parse_plain_commands(script)


@pytest.mark.parametrize("character", ["\U000ac736", "\U0001f600", "\U0002fa1d", "\u4e2d", "\xe9"])
def test_a_character_beyond_latin_is_part_of_its_word_wherever_it_stands(character: str) -> None:
    # The parser's grammar alone crashes the whole process on some of these.
    for before in ("{", "a{1..", "$", "<<", "${", "`", "~", "#", "a=", "[[ ", "((", "@(", "!"):
        parse_tree((before + character).encode())
    if not is_deceptive(character):
        [command] = parse_plain_commands(f"echo {character}a 'b {character}'")
        assert command.words == ("echo", f"{character}a", f"b {character}")
