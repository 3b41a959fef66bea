from __future__ import annotations

import io
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from codex_api.events import TurnComplete, TurnStarted
from codex_client.view.listing import print_sessions, show_transcript
from codex_client.view.testing import SESSION, SessionRows

if TYPE_CHECKING:
    from conftest import PseudoTerminal


@dataclass(frozen=True)
class Listed:
    session: str = SESSION
    updated_at: datetime = datetime(2026, 3, 4, tzinfo=UTC)
    directory: str = "/home/someone/project"
    model: str = "gpt-5.4"
    state: str = "TurnComplete"
    prompt: str = "Fix the\ttests\x1b[2J [red]now[/red]\nand more"


@pytest.fixture
def two_turns(rows: SessionRows) -> SessionRows:
    for number in (1, 2):
        rows.turn = number
        rows.event(TurnStarted(message=rows.message(f"Prompt {number}.").seq))
        rows.reasoned("Hm.")
        rows.ended(rows.command("cat a"), "text\n")
        said = rows.said(f"**Answer** {number}.")
        rows.used(10, 1)
        rows.event(TurnComplete(message_seq=said.seq))
    return rows


def test_a_piped_list_has_whole_ids_and_one_tab_between_fields() -> None:
    out = io.StringIO()
    print_sessions([Listed(), Listed()], out)
    lines = out.getvalue().splitlines()
    assert len(lines) == 2
    fields = lines[0].split("\t")
    assert (fields[0], fields[4], len(fields)) == (SESSION, "TurnComplete", 6)
    assert fields[5] == "Fix the tests⟨U+001B⟩[2J [red]now[/red]"


def test_a_list_in_a_terminal_is_a_table_that_fits(terminal: PseudoTerminal) -> None:
    print_sessions([Listed(), Listed(directory="/x" * 200)], terminal.stream)
    lines = terminal.read().splitlines()
    assert "PROMPT" in lines[0]
    assert "5f0c2a52 " in lines[1]
    assert max(map(len, lines[1:])) <= 80


def test_an_empty_list_says_how_to_begin(terminal: PseudoTerminal) -> None:
    print_sessions([], terminal.stream)
    assert "codex-temporal run" in terminal.read()


def test_a_transcript_shows_every_turn_in_order(two_turns: SessionRows) -> None:
    out = io.StringIO()
    show_transcript(two_turns.all, out)
    text = out.getvalue()
    expected = [
        "> Prompt 1.",
        "Hm.",
        "✓ cat a",
        "**Answer** 1.",
        "turn 1: 11 tokens",
        "> Prompt 2.",
        "turn 2: 11 tokens",
    ]
    positions = [text.index(part) for part in expected]
    assert positions == sorted(positions)


def test_a_transcript_in_a_terminal_renders_what_the_model_wrote(
    two_turns: SessionRows, terminal: PseudoTerminal
) -> None:
    show_transcript(two_turns.all, terminal.stream)
    assert "**" not in terminal.read()
    assert "Answer" in terminal.read()
