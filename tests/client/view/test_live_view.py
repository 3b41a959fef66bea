"""The live view on a pseudo-terminal; what stands on the screen in the end is what its control sequences leave."""

from __future__ import annotations

import asyncio
import os
import re
from typing import TYPE_CHECKING

import pytest

from codex_api import conditions
from codex_api.approvals import DecisionKind
from codex_api.events import ApprovalDecided, TurnComplete, TurnDiff, TurnStarted
from codex_api.rows import FileChange
from codex_client.view.live import LivePresenter
from codex_client.view.outcome import outcome_of
from codex_client.view.presenter import Question, RunInfo
from codex_client.view.printing import console_on
from codex_client.view.terminal_input import TerminalInput
from codex_client.view.testing import SESSION, SessionRows
from codex_worker.deltas import Delta

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import PseudoTerminal

SEQUENCE = re.compile(r"\x1b\[[0-9;?]*([A-Za-z])|\x1b\].*?\x07")
LONGER_THAN_A_FRAME = 0.25


@pytest.fixture(autouse=True)
def colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)


def screen_of(printed: str, before: list[str] | None = None) -> list[str]:
    """Return the lines a terminal of endless height is left with; it begins with ``before``."""
    lines = list(before or [""])
    row, column = len(lines) - 1, len(lines[-1])
    position = 0
    while position < len(printed):
        if match := SEQUENCE.match(printed, position):
            position = match.end()
            count = int(re.sub(r"\D", "", match[0][2:-1]) or 1)
            if match[1] == "A":
                row = max(0, row - count)
            elif match[1] == "K":
                lines[row] = ""
            continue
        character = printed[position]
        position += 1
        if character == "\n":
            row += 1
            if row == len(lines):
                lines.append("")
        elif character == "\r":
            column = 0
        else:
            lines[row] = lines[row][:column].ljust(column) + character + lines[row][column + 1 :]
            column += 1
    return [line.rstrip() for line in lines]


def live_on(terminal: PseudoTerminal) -> LivePresenter:
    return LivePresenter(console_on(terminal.stream), TerminalInput(terminal.file_descriptor))


def delta(text: str, attempt: str = "first") -> Delta:
    return Delta(SESSION, 1, 1, attempt, "text", text)


async def test_a_turn_leaves_its_transcript_and_what_to_do_next(
    terminal: PseudoTerminal, rows: SessionRows, info: RunInfo
) -> None:
    view = live_on(terminal)
    view.begin(info)
    view.show(rows.message("Fix [red]it[/red]."))
    view.show(rows.event(TurnStarted(message=1)))
    call = rows.command("make test")
    view.show(rows.all[-1])
    view.show(rows.began(call))
    await terminal.wait_for("make test")
    view.show(rows.ended(call, "\n".join(map(str, range(100))), 2, duration_seconds=1.5))
    patch = rows.patch("*** Begin Patch\n*** Add File: b\n+new\n*** End Patch")
    view.show(rows.all[-1])
    view.show(rows.patched(patch, FileChange(path="b", kind="add")))
    view.show(rows.event(TurnDiff(unified_diff="--- /dev/null\n+++ b/b\n@@ -0,0 +1 @@\n+new\n")))
    for word in ("**All", " good", "**"):
        view.stream(delta(word))
    await terminal.wait_for("**All good**")
    view.show(rows.said("**All good**"))
    view.show(rows.used(1000, 24, 1500))
    view.show(rows.event(TurnComplete(last_agent_message="**All good**")))
    view.end(outcome_of(rows.all))
    screen = screen_of(terminal.read())
    assert "> Fix [red]it[/red]." in screen
    assert "✗ make test  exit 2, 1.5s" in screen
    assert [line for line in screen if "more lines" in line] == ["    … 95 more lines"]
    assert {"    0", "    99", "    +new", "✎ b  +1 -0", "  All good"} <= set(screen)
    assert any("1,024 tokens, cost 0.0015" in line for line in screen)
    assert any(f'codex-temporal resume {SESSION[:8]} "…"' in line for line in screen)
    assert [line for line in screen if "thinking" in line or "All good**" in line] == []
    assert terminal.read().rindex("\x1b[?25h") > terminal.read().rindex("\x1b[?25l")


async def test_text_of_an_attempt_that_failed_is_forgotten(
    terminal: PseudoTerminal, rows: SessionRows, info: RunInfo
) -> None:
    view = live_on(terminal)
    view.begin(info)
    view.stream(delta("half a sent"))
    await terminal.wait_for("half a sent")
    view.stream(delta("whole", "second"))
    await asyncio.sleep(LONGER_THAN_A_FRAME)
    assert screen_of(terminal.read())[-1].strip() == "whole"
    view.end(outcome_of(rows.all))


async def test_a_retry_says_what_is_waited_for_and_until_when(
    terminal: PseudoTerminal, rows: SessionRows, info: RunInfo
) -> None:
    view = live_on(terminal)
    view.begin(info)
    for attempt in (1, 2):
        view.show(rows.retried(conditions.REASON_MODEL_RATE_LIMITED, attempt=attempt))
    await asyncio.sleep(LONGER_THAN_A_FRAME)
    view.end(outcome_of(rows.all))
    told = [
        line
        for line in screen_of(terminal.read())
        if "waiting for the provider: rate limited; attempt 1, until" in line
    ]
    assert len(told) == 1


@pytest.mark.parametrize("term", ["xterm-256color", "linux"])
async def test_a_terminal_that_becomes_narrower_keeps_no_copy_of_what_goes_on(
    monkeypatch: pytest.MonkeyPatch,
    open_terminal: Callable[..., PseudoTerminal],
    rows: SessionRows,
    info: RunInfo,
    term: str,
) -> None:
    monkeypatch.setenv("TERM", term)
    monkeypatch.delenv("XTERM_VERSION", raising=False)
    terminal = open_terminal(columns=80, lines=60)
    view = live_on(terminal)
    view.begin(info)
    view.show(rows.said("The last of the transcript."))
    view.stream(delta("many " * 30))
    await asyncio.sleep(LONGER_THAN_A_FRAME)
    wide = screen_of(terminal.read())
    # No frame is drawn until the next await.
    terminal.resize(columns=40, lines=60)
    printed = len(terminal.shown)
    broken_anew = [line[at : at + 40] for line in wide for at in range(0, max(1, len(line)), 40)]
    await asyncio.sleep(LONGER_THAN_A_FRAME)
    view.end(outcome_of(rows.all))
    before = broken_anew if term != "linux" else [line[:40] for line in wide]
    screen = screen_of(terminal.read()[printed:], before)
    assert [line for line in screen if "many" in line] == []
    assert "  The last of the transcript." in screen


async def test_rows_that_come_during_a_question_wait_until_it_is_answered(
    terminal: PseudoTerminal, rows: SessionRows, info: RunInfo
) -> None:
    view = live_on(terminal)
    view.begin(info)
    call = rows.command("make install")
    view.show(rows.all[-1])
    asking = asyncio.create_task(view.ask(Question("t1-c1-x", call, "")))
    await terminal.wait_for("a abort: ")
    view.show(rows.said("Something else."))
    view.stream(delta("streaming"))
    await asyncio.sleep(LONGER_THAN_A_FRAME)
    assert "Something else." not in terminal.read()
    assert "streaming" not in terminal.read()
    terminal.press("y")
    assert (await asking).kind is DecisionKind.APPROVE
    decided = ApprovalDecided(approval_id="t1-c1-x", call_id=call.call_id, decision=DecisionKind.APPROVE)
    view.show(rows.event(decided))
    view.end(outcome_of(rows.all))
    screen = "\n".join(screen_of(terminal.read()))
    assert screen.index("a abort: approve") < screen.index("Something else.")


async def test_two_questions_are_asked_one_after_the_other(
    terminal: PseudoTerminal, rows: SessionRows, info: RunInfo
) -> None:
    view = live_on(terminal)
    view.begin(info)
    asking = [
        asyncio.create_task(view.ask(Question(name, rows.command(f"run {name}"), ""))) for name in ("first", "second")
    ]
    await terminal.wait_for("a abort: ")
    assert "run second" not in terminal.read()
    terminal.press("y")
    await terminal.wait_for("a abort: ", 2)
    terminal.press("a")
    assert [(await task).kind.value for task in asking] == ["approve", "abort"]
    view.end(outcome_of(rows.all))


@pytest.mark.parametrize("columns", [20, 40, 80])
async def test_no_line_is_wider_than_the_terminal_whatever_is_shown(
    open_terminal: Callable[..., PseudoTerminal], rows: SessionRows, info: RunInfo, columns: int
) -> None:
    from rich.cells import cell_len

    terminal = open_terminal(columns=columns)
    view = live_on(terminal)
    view.begin(info)
    view.show(rows.message("漢字" * 50 + " 🎉" * 30))
    view.show(rows.event(TurnStarted(message=1)))
    call = rows.command("echo " + "漢" * 500)
    view.show(rows.all[-1])
    view.show(rows.began(call))
    view.stream(delta("字" * 300))
    await asyncio.sleep(LONGER_THAN_A_FRAME)
    view.show(rows.ended(call, "x" * 10_000 + "\n" + "漢" * 10_000, 1))
    view.show(rows.said("# " + "字" * 100 + "\n\n- " + "y" * 300 + "\n\n```\n" + "z" * 300 + "\n```\n"))
    view.end(outcome_of(rows.all))
    assert max(map(cell_len, screen_of(terminal.read()))) <= columns


async def test_without_colours_none_are_printed(
    monkeypatch: pytest.MonkeyPatch, terminal: PseudoTerminal, rows: SessionRows, info: RunInfo
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    view = live_on(terminal)
    view.begin(info)
    call = rows.command("make")
    view.show(rows.all[-1])
    view.show(rows.ended(call, "boom", 1))
    view.show(rows.said("`code`\n\n```python\nx = 1\n```"))
    view.end(outcome_of(rows.all))
    assert re.search(r"\x1b\[[0-9;]*(3[0-9]|4[0-9]|9[0-9])[0-9;]*m", terminal.read()) is None


async def test_a_terminal_that_is_closed_does_not_stop_the_turn(
    terminal: PseudoTerminal, rows: SessionRows, info: RunInfo
) -> None:
    view = live_on(terminal)
    view.begin(info)
    terminal.hang_up()
    view.show(rows.said("Anybody there?"))
    await asyncio.sleep(LONGER_THAN_A_FRAME)
    view.end(outcome_of(rows.all))
    # What is written later goes nowhere.
    assert os.path.samestat(os.fstat(terminal.stream.fileno()), os.stat(os.devnull))
