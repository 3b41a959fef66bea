"""What ``sessions`` and ``show`` print: tables and transcripts in a terminal, plain lines where they are piped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import IO, Protocol

from rich.console import Console
from rich.table import Table
from rich.text import Text

from codex_client.view.endings import SHORT_ID_CHARACTERS
from codex_client.view.happenings import (
    AgentSaid,
    DiffGrew,
    Happening,
    RequestCharged,
    TurnBegan,
    TurnEnded,
)
from codex_client.view.lines import Line, Style, diff_lines, lines_of, prose_lines
from codex_client.view.plain import plain_text
from codex_client.view.printing import console_on, print_lines, prose
from codex_client.view.progress import Progress
from codex_client.view.safe_text import safe_line
from codex_client.view.usage import UsageTotal
from codex_client.view.vanished_reader import ForgivingStream
from codex_client.view.wording import duration, usage_words
from codex_journal.rows import Row

PROMPT_WIDTH = 200
WIDE = 72
_COLUMNS = ("ID", "WHEN", "STATE", "FOLDER", "MODEL", "PROMPT")
_NARROW = ("ID", "STATE", "PROMPT")
TIME_FORMAT = "%Y-%m-%d %H:%M"


class ListedSession(Protocol):
    """A line of ``codex-temporal sessions``."""

    @property
    def session(self) -> str: ...
    @property
    def updated_at(self) -> datetime: ...
    @property
    def directory(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def prompt(self) -> str: ...


def print_sessions(summaries: Sequence[ListedSession], stdout: IO[str]) -> None:
    """Print a table in a terminal, else a line per session with its fields separated by tabs."""
    if not stdout.isatty():
        out = ForgivingStream(stdout)
        for summary in summaries:
            out.write("\t".join(_fields(summary, summary.session)) + "\n")
        return
    console = console_on(stdout)
    if not summaries:
        console.print(Text("No sessions yet. Start one with: codex-temporal run", "dim"))
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    wide = console.width >= WIDE
    for name in _COLUMNS if wide else _NARROW:
        # What is cut in a narrow terminal: texts, before names and times.
        table.add_column(name, no_wrap=name in ("ID", "WHEN", "STATE"))
    for summary in summaries:
        session, when, folder, model, state, prompt = _fields(summary, summary.session[:SHORT_ID_CHARACTERS])
        values = (session, when, state, folder, model, prompt) if wide else (session, state, prompt)
        table.add_row(*(Text(value, no_wrap=True, overflow="ellipsis") for value in values))
    console.print(table)


def show_transcript(rows: Iterable[Row], stdout: IO[str]) -> None:
    """Print what happened in a session, from its first row to the last one given."""
    transcript = _Coloured(console_on(stdout)) if stdout.isatty() else _Plain(ForgivingStream(stdout))
    progress = Progress()
    usage, diff = UsageTotal(), ""
    began: datetime | None = None
    for row in rows:
        for happening in progress.feed(row):
            if isinstance(happening, TurnBegan):
                began = row.at
            if isinstance(happening, RequestCharged):
                usage = usage.plus(happening.usage)
            elif isinstance(happening, DiffGrew):
                diff = happening.unified_diff
            else:
                transcript.tell(happening)
            if isinstance(happening, TurnEnded):
                spent = f"{usage_words(usage)}, {duration((row.at - (began or row.at)).total_seconds())}"
                summary = Line(f"turn {happening.end.turn}: {spent}", Style.QUIET, "─")
                transcript.print([*diff_lines(diff), summary, Line("")])
                usage, diff = UsageTotal(), ""


class _Coloured:
    def __init__(self, console: Console) -> None:
        self._console = console

    def tell(self, happening: Happening) -> None:
        if isinstance(happening, AgentSaid):
            self._console.print(prose(happening.text))
        else:
            self.print(lines_of(happening))

    def print(self, lines: Iterable[Line]) -> None:
        print_lines(self._console, lines)


class _Plain:
    def __init__(self, stream: ForgivingStream) -> None:
        self._stream = stream

    def tell(self, happening: Happening) -> None:
        self.print(prose_lines(happening.text) if isinstance(happening, AgentSaid) else lines_of(happening))

    def print(self, lines: Iterable[Line]) -> None:
        for line in lines:
            self._stream.write(plain_text(line) + "\n")


def _fields(summary: ListedSession, session: str) -> list[str]:
    prompt = summary.prompt.strip().partition("\n")[0]
    return [
        session,
        summary.updated_at.astimezone().strftime(TIME_FORMAT),
        safe_line(summary.directory),
        safe_line(summary.model),
        safe_line(summary.state),
        safe_line(prompt, PROMPT_WIDTH),
    ]
