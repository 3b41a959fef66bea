"""What people read: escaped, bounded, and whole where it has to be."""

from __future__ import annotations

import io
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_api.rows import ModelRetryPayload, ToolResultPayload
from codex_client.view.excerpts import Excerpt, FileDiff, diff_stat, excerpt
from codex_client.view.items import answers_text, output_text
from codex_client.view.lines import Line
from codex_client.view.printing import console_on, print_lines, prose
from codex_client.view.reflow import extra_rows, reflows
from codex_client.view.safe_text import exact_lines, safe_line, safe_lines, safe_output_line
from codex_client.view.usage import format_cost
from codex_client.view.wording import clock_time, duration, result_words, retry_words
from codex_worker.tools.display import escape_for_display

ANYTHING = st.text(st.characters(categories=("L", "N", "P", "S", "Z", "C")))


def printed(text: str, width: int = 60) -> str:
    out = io.StringIO()
    console_on(out, width=width).print(prose(text))
    return out.getvalue()


@given(ANYTHING)
def test_prose_keeps_its_line_breaks_and_nothing_else_that_moves_the_cursor(text: str) -> None:
    shown = safe_lines(text)
    assert all(character == "\n" or character.isprintable() for character in shown)
    assert not set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c") & set(shown)


@given(ANYTHING, st.integers(1, 50))
def test_a_line_is_one_line_and_no_longer_than_asked(text: str, width: int) -> None:
    line = safe_line(text, width)
    assert line.isprintable()
    assert len(line) <= width


@given(ANYTHING)
def test_exact_lines_say_what_was_journaled_as_shown(text: str) -> None:
    shown = escape_for_display(text)
    assert "⏎".join(exact_lines(text, shown)) == shown


def test_scripts_written_from_right_to_left_stay_readable() -> None:
    assert safe_lines("שלום عالم") == "שלום عالم"


def test_output_loses_colours_and_keeps_the_last_rewrite_of_a_line() -> None:
    assert safe_output_line("\x1b[1;32mok\x1b[0m 10%\r50%\r100%\r") == "100%"
    assert safe_output_line("\x1b]0;title\x07done\x07") == "done⟨U+0007⟩"


def test_markup_html_and_links_of_a_model_hide_nothing() -> None:
    text = printed("[red]x[/red] :smile: List<String> <b>y</b> [the bank](http://evil.example)")
    assert "[red]x[/red] :smile: List<String> <b>y</b>" in text
    assert "http://evil.example" in text
    assert "\x1b]8" not in text


@given(st.text(st.sampled_from("ab\n"), max_size=60), st.integers(1, 4), st.integers(0, 4))
def test_an_excerpt_leaves_out_only_what_it_counts(text: str, head: int, tail: int) -> None:
    lines = text.rstrip("\n").split("\n") if text.strip("\n") else []
    shown = excerpt(text, head, tail)
    assert len(shown.head) + shown.omitted + len(shown.tail) == len(lines)
    assert shown.head == lines[: len(shown.head)]
    assert not shown.tail or shown.tail == lines[-len(shown.tail) :]


def test_an_excerpt_of_a_hundred_megabytes_takes_no_second() -> None:
    began = time.process_time()
    assert excerpt("y\n" * 50_000_000, 2, 3).omitted == 49_999_995
    assert len(excerpt("y" * 100_000_000, 2, 3).head[0]) == 4096
    assert time.process_time() - began < 5


def test_an_excerpt_of_nothing_is_empty() -> None:
    assert excerpt("\n\n", 2, 3) == Excerpt([], 0, [])


def test_a_diff_is_counted_per_file_whatever_its_lines_look_like() -> None:
    diff = (
        "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1,3 +1,3 @@\n a\n--- b\n+++ c\n d\n"
        "--- a/gone\n+++ /dev/null\n@@ -1 +0,0 @@\n-z\n--- /dev/null\n+++ b/new name\t2026\n@@ -0,0 +1,2 @@\n+1\n+2\n"
    )
    assert diff_stat(diff) == [FileDiff("x", 1, 1), FileDiff("gone", 0, 1), FileDiff("new name", 2, 0)]


@given(ANYTHING | st.text("+- @,1a\n"))
def test_any_text_can_be_taken_for_a_diff(text: str) -> None:
    diff_stat(text)
    assert diff_stat(f"--- a\n+++ b\n@@ {text} @@\n{text}")[0].path == "b"
    lines = text.split("\n")
    hunk = f"@@ -0,0 +1,{len(lines)} @@\n" + "\n".join(f"+{line}" for line in lines)
    assert diff_stat(f"--- a\n+++ b\n{hunk}") == [FileDiff("b", len(lines), 0)]


@pytest.mark.parametrize(
    ("output", "text"),
    [
        ("Chunk ID: 1\nWall time: 1 seconds\nOriginal token count: 1\nOutput:\nOutput:\nx", "Output:\nx"),
        ("Chunk ID: 1\nOutput:\nWarning: truncated output (original token count: 9)\n\na…b", "a…b"),
        ("Exit code: 1\nWall time: 0.1 seconds\nOutput:\nno", "no"),
        ("unsupported call: x\nOutput:\ny", "unsupported call: x\nOutput:\ny"),
        ([{"type": "input_image", "image_url": "data:"}, {"type": "input_text", "text": "a"}, 3], "[image]\na\n"),
        (None, ""),
    ],
)
def test_only_what_a_command_printed_is_shown_of_its_output(output: object, text: str) -> None:
    assert output_text({"output": output}) == text


@pytest.mark.parametrize(
    ("output", "text"),
    [
        ('{"answers": {"a": {"answers": ["Blue"]}, "b": {"answers": ["x", "y"]}}}', "Blue\nx\ny"),
        ("The call was not run.", "The call was not run."),
        ('{"answers": [1]}', '{"answers": [1]}'),
        ('{"answers": {"a": 3}}', '{"answers": {"a": 3}}'),
        ("[" * 100_000, "[" * 100_000),
    ],
)
def test_an_answer_is_shown_without_its_wrapping(output: str, text: str) -> None:
    assert answers_text(output) == text


def test_times_and_amounts_are_short() -> None:
    assert [duration(seconds) for seconds in (-1, 0.04, 9.94, 59.4, 61, 7300)] == [
        "0.0s",
        "0.0s",
        "9.9s",
        "59s",
        "1m 01s",
        "2h 01m",
    ]
    assert [format_cost(cost) for cost in (0, 1, 1_500_000, 20_000_000)] == ["0", "0.000001", "1.5", "20"]
    assert clock_time("never\x1b") == "never⟨U+001B⟩"
    assert clock_time("9999-12-31T23:59:59Z")


@pytest.mark.parametrize(
    ("reason", "message", "words"),
    [
        (
            "ModelUnavailable",
            "the connection to 127.0.0.1:9 failed: Connection refused",
            "127.0.0.1:9: connection refused",
        ),
        ("ModelUnavailable", "HTTP 502: ConnectError: [Errno 111] x", "waiting for the provider: HTTP 502: x"),
        ("ModelRateLimited", "slow down", "waiting for the provider: rate limited"),
        ("ModelUnavailable", "", "waiting for the provider: ModelUnavailable"),
    ],
)
def test_a_wait_for_the_provider_says_why_in_short(reason: str, message: str, words: str) -> None:
    retry = ModelRetryPayload(attempt=7, reason=reason, message=message, until="soon")
    assert retry_words(retry) == f"{words}; attempt 7, until soon"


def test_rows_become_more_where_the_terminal_becomes_narrower() -> None:
    assert extra_rows([0, 40, 41, 80, 81], 40) == 0 + 0 + 1 + 1 + 2


@pytest.mark.parametrize(
    ("environment", "does"),
    [
        ({"TERM": "xterm-256color"}, True),
        ({"TERM": "xterm", "XTERM_VERSION": "XTerm(390)"}, False),
        ({"TERM": "screen-256color"}, False),
        ({"TERM": "screen-256color", "TMUX": "/run/tmux"}, True),
        ({"TERM": "linux"}, False),
    ],
)
def test_some_terminals_break_long_rows_anew(environment: dict[str, str], does: bool) -> None:
    assert reflows(environment) is does


@pytest.mark.parametrize("columns", [20, 40])
def test_a_narrow_terminal_shows_the_state_and_the_note_whole(columns: int) -> None:
    out = io.StringIO()
    spent = "1,234,567 tokens (1,000,000 cached), cost 0.0213"
    print_lines(
        console_on(out, width=columns), [Line("done", mark="✓", note=spent), Line("make it all", note="exit 2")]
    )
    lines = out.getvalue().splitlines()
    assert lines[0].startswith("✓ done")
    assert "".join(spent.split()) in "".join("".join(lines).split())
    assert lines[-1].endswith("exit 2")
    assert max(map(len, lines)) <= columns


def test_a_result_says_what_its_mark_does_not() -> None:
    assert result_words(ToolResultPayload(call_id="c", item={}, exit_code=3, duration_seconds=65)) == "exit 3, 1m 05s"
    assert result_words(ToolResultPayload(call_id="c", item={}, process=4)) == "still running as 4"
    assert result_words(ToolResultPayload(call_id="c", item={}, outcome="denied")) == "denied"


def test_a_console_takes_text_as_it_is() -> None:
    out = io.StringIO()
    console_on(out, width=40).print("[red]:smile:[/red] 1 'x'")
    assert out.getvalue() == "[red]:smile:[/red] 1 'x'\n"


@pytest.mark.parametrize("text", ["x\n\n" * 1_000_000, "[" * 3_000_000, "word " * 600_000])
def test_a_message_of_megabytes_is_shown_up_to_a_bound_that_is_told(text: str) -> None:
    began = time.process_time()
    shown = printed(text)
    assert "more characters" in shown or "more lines" in shown
    assert len(shown) < 1_000_000
    assert time.process_time() - began < 10
