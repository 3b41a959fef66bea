"""Real key presses on a pseudo-terminal."""

from __future__ import annotations

import asyncio
import select
from typing import TYPE_CHECKING, Any

import pytest

from codex_api.approvals import DecisionKind
from codex_api.rows import ToolCallPayload
from codex_client.view.asking import Asker
from codex_client.view.presenter import Question
from codex_client.view.printing import console_on
from codex_client.view.questions import answer_to, joined_answers, questions_of
from codex_client.view.terminal_input import InputClosed, TerminalInput
from codex_client.view.testing import SessionRows

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import PseudoTerminal

APPROVAL_KEYS = "y approve · n deny · a abort: "


@pytest.fixture
def asker(terminal: PseudoTerminal) -> Asker:
    return Asker(console_on(terminal.stream), TerminalInput(terminal.file_descriptor))


def question(call: ToolCallPayload) -> Question:
    return Question("t1-c1-x", call, "2026-03-04T12:00:00Z")


def asked_questions(rows: SessionRows, *questions: dict[str, Any]) -> ToolCallPayload:
    return rows.call("request_user_input", arguments={"questions": list(questions)}, preview="questions")


@pytest.mark.parametrize(("key", "kind"), [("y", "approve"), ("Y", "approve"), ("a", "abort")])
async def test_one_key_decides(terminal: PseudoTerminal, asker: Asker, rows: SessionRows, key: str, kind: str) -> None:
    asking = asyncio.create_task(asker.ask(question(rows.command("make install"))))
    await terminal.wait_for(APPROVAL_KEYS)
    terminal.press(key)
    decision = await asking
    assert (decision.approval_id, decision.kind, decision.reason) == ("t1-c1-x", DecisionKind(kind), "")


async def test_a_denial_asks_for_the_reason(terminal: PseudoTerminal, asker: Asker, rows: SessionRows) -> None:
    asking = asyncio.create_task(asker.ask(question(rows.command("make install"))))
    await terminal.wait_for(APPROVAL_KEYS)
    terminal.press("n")
    await terminal.wait_for("no reason): ")
    terminal.press("use a größe\x1b[A virtual environment\n")
    decision = await asking
    assert decision.kind is DecisionKind.DENY
    assert decision.reason == "use a größe[A virtual environment"


async def test_other_keys_decide_nothing(terminal: PseudoTerminal, asker: Asker, rows: SessionRows) -> None:
    asking = asyncio.create_task(asker.ask(question(rows.command("make install"))))
    await terminal.wait_for(APPROVAL_KEYS)
    for keys in ("\n", "\x1b[A", "x", " "):
        terminal.press(keys)
        await asyncio.sleep(0.05)
        assert not asking.done()
    terminal.press("y")
    assert (await asking).kind is DecisionKind.APPROVE


async def test_what_was_typed_before_the_question_answers_nothing(
    terminal: PseudoTerminal, asker: Asker, rows: SessionRows
) -> None:
    terminal.press("y\ny\n")
    # The kernel hands keys over in its own time.
    select.select([terminal.file_descriptor], [], [], 5)
    asking = asyncio.create_task(asker.ask(question(rows.command("make install"))))
    await terminal.wait_for(APPROVAL_KEYS)
    await asyncio.sleep(0.1)
    assert not asking.done()
    terminal.press("n")
    await terminal.wait_for("no reason): ")
    terminal.press("\n")
    assert (await asking).kind is DecisionKind.DENY


async def test_a_question_decided_elsewhere_leaves_the_terminal_as_it_was(
    terminal: PseudoTerminal, asker: Asker, rows: SessionRows
) -> None:
    asking = asyncio.create_task(asker.ask(question(rows.command("make install"))))
    await terminal.wait_for(APPROVAL_KEYS)
    assert not terminal.echoes()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert terminal.echoes()


async def test_a_closed_terminal_decides_nothing(terminal: PseudoTerminal, asker: Asker, rows: SessionRows) -> None:
    asking = asyncio.create_task(asker.ask(question(rows.command("make install"))))
    await terminal.wait_for(APPROVAL_KEYS)
    terminal.hang_up()
    done, _ = await asyncio.wait([asking], timeout=0.3)
    assert not done
    asking.cancel()
    with pytest.raises((asyncio.CancelledError, InputClosed)):
        await asking


async def test_the_whole_command_is_shown_with_its_line_breaks_and_nothing_hidden(
    open_terminal: Callable[..., PseudoTerminal], rows: SessionRows
) -> None:
    terminal = open_terminal(columns=40)
    asker = Asker(console_on(terminal.stream), TerminalInput(terminal.file_descriptor))
    script = "echo [bold]one[/bold]\nrm -rf \u202e" + "z" * 300 + "END\x1b[2K"
    asking = asyncio.create_task(asker.ask(question(rows.command(script, justification="\x1b]0;title\x07 trust me"))))
    await terminal.wait_for(APPROVAL_KEYS)
    terminal.press("a")
    await asking
    panel = terminal.read()
    assert "echo [bold]one[/bold]" in panel
    assert "⟨U+202E⟩" in panel
    assert "\u202e" not in panel
    assert panel.count("z") == 300
    assert "END⟨U+001B⟩[2K" in panel
    assert "\x1b]0;" not in panel


async def test_a_text_that_differs_from_what_was_journaled_as_shown_is_not_shown(
    terminal: PseudoTerminal, asker: Asker, rows: SessionRows
) -> None:
    call = rows.command("echo harmless").model_copy(update={"preview": "rm -rf ~"})
    asking = asyncio.create_task(asker.ask(question(call)))
    await terminal.wait_for(APPROVAL_KEYS)
    terminal.press("a")
    await asking
    assert "rm -rf ~" in terminal.read()
    assert "harmless" not in terminal.read()


async def test_a_question_is_answered_by_number_or_in_own_words(
    terminal: PseudoTerminal, asker: Asker, rows: SessionRows
) -> None:
    options = [{"label": "Postgres", "description": "big"}, {"label": "SQLite", "description": "small"}]
    call = asked_questions(
        rows,
        {"id": "a", "header": "Database", "question": "Which one?", "options": options},
        {"id": "b", "header": "Name", "question": "What name?"},
    )
    asking = asyncio.create_task(asker.ask(question(call)))
    await terminal.wait_for("number or text (Enter: decline): ")
    assert "2. SQLite" in terminal.read()
    terminal.press("2\n")
    await terminal.wait_for("text (Enter: decline): ", 2)
    terminal.press("a; b\n")
    decision = await asking
    assert (decision.kind, decision.reason) == (DecisionKind.ANSWER, "SQLite; a, b")


async def test_an_empty_line_declines_to_answer(terminal: PseudoTerminal, asker: Asker, rows: SessionRows) -> None:
    call = asked_questions(rows, {"id": "a", "question": "Which one?"})
    asking = asyncio.create_task(asker.ask(question(call)))
    await terminal.wait_for("decline): ")
    terminal.press("\n")
    assert (await asking).kind is DecisionKind.DENY


def test_a_number_without_an_option_is_an_answer_of_its_own(rows: SessionRows) -> None:
    options = [{"label": "one"}, {"label": "two"}]
    (asked,) = questions_of(asked_questions(rows, {"id": "a", "question": "How many?", "options": options}))
    assert [answer_to(asked, typed) for typed in ("1", "2", "3", "0", "many", "²", "1" * 5000)] == [
        "one",
        "two",
        "3",
        "0",
        "many",
        "²",
        "1" * 5000,
    ]


def test_one_answer_keeps_its_semicolons_and_several_do_not() -> None:
    assert joined_answers(["a; b"]) == "a; b"
    assert joined_answers(["a; b", "c"]) == "a, b; c"


@pytest.mark.parametrize("arguments", [{}, {"questions": 3}, {"questions": [3, None]}, {"questions": "x"}])
def test_questions_of_another_shape_are_none(rows: SessionRows, arguments: dict[str, Any]) -> None:
    assert questions_of(rows.call("request_user_input", arguments=arguments)) == []
