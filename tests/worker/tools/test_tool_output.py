"""Texts that models read of their commands."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from codex_sandbox.output_buffer import OutputBuffer
from codex_sandbox.protocol import CommandReply
from codex_worker.tools import outcomes
from codex_worker.tools.output import call_output, chunk_id, format_reply, token_count, truncate_middle

MARKER = re.compile("…([0-9]+) tokens truncated…")


def reply(output: str = "", **changes: object) -> CommandReply:
    fields: dict[str, object] = {
        "output_bytes": len(output.encode(errors="replace")),
        "omitted_bytes": 0,
        "omitted_at": None,
        "exit_code": 0,
        "signal": None,
        "process": None,
        "wall_time_seconds": 0.12345,
    }
    return CommandReply(output=output, **{**fields, **changes})  # type: ignore[arg-type]


def test_a_finished_command_reads_as_models_know_it() -> None:
    assert format_reply("t1.s1.c0", reply("hello\n", exit_code=3), 100) == (
        f"Chunk ID: {chunk_id('t1.s1.c0')}\n"
        "Wall time: 0.1235 seconds\n"
        "Process exited with code 3\n"
        "Original token count: 2\n"
        "Output:\n"
        "hello\n"
    )


def test_a_running_command_says_how_to_reach_it() -> None:
    text = format_reply("t1.s1.c0", reply("$ ", exit_code=None, process=7), 100)
    assert "Process running with session ID 7\n" in text
    assert "exited" not in text


def test_long_output_is_marked_at_its_head_and_in_its_middle() -> None:
    output = "".join(f"line {number}\n" for number in range(30_000))
    text = format_reply("t1.s1.c0", reply(output), 10_000)
    tokens = token_count(len(output))
    assert (
        f"Original token count: {tokens}\nOutput:\nWarning: truncated output (original token count: {tokens})\n" in text
    )
    assert "Total output lines: 30000\n\nline 0\n" in text
    assert text.endswith("line 29999\n")
    assert len(text) < 40_000 + 300


def test_what_the_sandbox_left_out_already_is_counted() -> None:
    text = format_reply(
        "t1.s1.c0", reply("headtail", output_bytes=1_000_008, omitted_bytes=1_000_000, omitted_at=4), 100
    )
    assert "Original token count: 250002\n" in text
    assert text.endswith("\n\nhead…250000 tokens truncated…tail")
    assert "Total output lines" not in text


def test_the_lines_of_output_that_was_not_kept_are_told_where_the_sandbox_counted_them() -> None:
    kept = reply("headtail", output_bytes=1_000_008, omitted_bytes=1_000_000, omitted_at=4, output_lines=77_000)
    assert "Total output lines: 77000\n\nhead" in format_reply("t1.s1.c0", kept, 100)


def test_the_same_call_reads_the_same_and_another_differs() -> None:
    assert format_reply("t1.s1.c0", reply("x"), 10) == format_reply("t1.s1.c0", reply("x"), 10)
    assert re.fullmatch("[0-9a-f]{6}", chunk_id("t1.s1.c0"))
    assert len({chunk_id(f"t1.s1.c{index}") for index in range(100)}) == 100


any_text = st.text(st.characters(), max_size=400)


@given(any_text, st.integers(1, 60))
def test_truncation_keeps_head_and_tail_within_the_limit(text: str, limit: int) -> None:
    clean = text.encode(errors="replace").decode()
    shown, cut = truncate_middle(text, limit)
    shown.encode()
    if not cut:
        assert shown == clean
        assert len(clean.encode()) <= 4 * limit
        return
    marker = max(MARKER.finditer(shown), key=lambda match: clean.startswith(shown[: match.start()]))
    head, tail = shown[: marker.start()], shown[marker.end() :]
    assert clean.startswith(head)
    assert clean.endswith(tail)
    kept = len(head.encode()) + len(tail.encode())
    assert kept <= 4 * limit
    # At most one character is lost on either side of the cut.
    assert kept > 4 * limit - 7
    assert int(marker[1]) == token_count(len(clean.encode()) - kept)


@given(any_text, st.integers(1, 30), st.integers(-5, 500), st.integers(0, 10**9))
def test_a_sandbox_that_lies_about_omissions_cannot_exceed_the_limit(text: str, limit: int, at: int, size: int) -> None:
    shown, cut = truncate_middle(text, limit, at, size)
    assert cut
    assert len(shown.encode()) <= 4 * limit + len("… tokens truncated…".encode()) + 10


@given(st.binary(max_size=3000), st.integers(1, 100))
def test_what_a_supervisor_reports_in_so_many_bytes_is_shown_whole(data: bytes, limit: int) -> None:
    buffer = OutputBuffer()
    buffer.append(data)
    taken = buffer.take(4 * limit, final=True)
    shown, _ = truncate_middle(taken.text, limit, taken.omitted_at, taken.omitted)
    assert len(shown.encode()) <= 4 * limit + len("… tokens truncated…".encode()) + 10
    if data.isascii():
        middle = f"…{token_count(taken.omitted)} tokens truncated…" if taken.omitted else ""
        at = taken.omitted_at if taken.omitted_at is not None else len(taken.text)
        assert shown == taken.text[:at] + middle + taken.text[at:]


def test_an_answer_carries_the_providers_id() -> None:
    assert call_output("call_9", "x") == {"type": "function_call_output", "call_id": "call_9", "output": "x"}


def test_every_ending_without_a_result_tells_the_model_what_became_of_the_call() -> None:
    assert outcomes.denied("use uv instead") == "The call was not run. rejected by user: use uv instead"
    assert outcomes.denied() == "The call was not run. rejected by user"
    assert "within 60 seconds" in outcomes.expired(60)
    assert outcomes.aborted(1.25) == "aborted by user after 1.2s"
    assert outcomes.aborted() == "aborted by user"
    assert "may have partly run" in outcomes.interrupted(workspace_kept=True)
    assert "kept" in outcomes.interrupted(workspace_kept=True)
    assert "files written before are gone" in outcomes.interrupted(workspace_kept=False)
    assert "session ID 4" in outcomes.process_lost(4)
    assert "process id 4" in outcomes.unknown_process(4)
    assert "digest" in outcomes.refused("digest mismatch")
    assert outcomes.failed("no answer") == "failed: no answer"
