"""Lines and prose on a rich console. Nothing a model wrote is ever read as markup."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import IO, cast

from rich.cells import cell_len
from rich.console import Console, ConsoleDimensions, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding
from rich.text import Text
from rich.theme import Theme

from codex_client.view.lines import Line
from codex_client.view.safe_text import safe_lines
from codex_client.view.vanished_reader import ForgivingStream

INDENT = 2
# Markdown of 100,000 lines takes 10 s; a message that long is printed as it is, up to a bound.
MAX_MARKDOWN_CHARACTERS = 32 * 1024
MAX_LINES = 2_000
# The default puts code on a black field, which is not every terminal's background.
THEME = Theme({"markdown.code": "cyan", "markdown.h1": "bold", "markdown.h2": "bold"})


class StreamConsole(Console):
    """A console as wide as the terminal it prints on; rich asks standard input first."""

    @property  # type: ignore[misc]  # nobody sets it here
    def size(self) -> ConsoleDimensions:
        if self._width is not None:
            return super().size
        try:
            columns, lines = os.get_terminal_size(self.file.fileno())
        except (OSError, ValueError):
            return super().size
        # A terminal nobody has told its size says 0.
        return ConsoleDimensions(columns, lines) if columns and lines else super().size


def console_on(stream: IO[str], *, width: int | None = None) -> Console:
    """Return a console that takes text as it is: no markup, no emoji codes, no guessing of highlights."""
    file = cast(IO[str], ForgivingStream(stream))
    return StreamConsole(file=file, width=width, markup=False, emoji=False, highlight=False, theme=THEME)


class OneLine:
    """A line as wide as the console at most, unless all of it counts or its note alone takes more than half of it."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        line = self._line
        note = f"  {line.note}" if line.note else ""
        room = max(1, options.max_width - INDENT)
        text = Text(line.text, style=line.style.value, overflow="fold", no_wrap=not line.wraps, end="")
        if not line.wraps:
            text.truncate(max(1, room - cell_len(note), room // 2), overflow="ellipsis")
        text.append(note, "dim")
        rows = text.wrap(console, room, overflow="fold", no_wrap=not line.wraps and text.cell_len <= room)
        for index, row in enumerate(rows):
            mark = line.mark if index == 0 else ""
            yield Text.assemble((mark.ljust(INDENT), line.mark_style.value), row, end="\n", no_wrap=True)


def print_lines(console: Console, lines: Iterable[Line]) -> None:
    for line in lines:
        console.print(OneLine(line))


def prose(text: str) -> RenderableType:
    """Return a model's message rendered as Markdown; addresses of links are shown, never hidden behind words."""
    if len(text) > MAX_MARKDOWN_CHARACTERS or text.count("\n") > MAX_LINES:
        return Padding(Text(_first_lines(safe_lines(text)), overflow="fold"), (1, 0, 1, INDENT))
    from codex_client.view.markdown import SafeMarkdown

    return Padding(SafeMarkdown(safe_lines(text)), (1, 0, 1, INDENT))


def _first_lines(text: str) -> str:
    lines = text.split("\n", MAX_LINES)
    if len(lines) > MAX_LINES:
        lines[MAX_LINES] = f"… {lines[MAX_LINES].count(chr(10)) + 1:,} more lines"
    return "\n".join(lines)
