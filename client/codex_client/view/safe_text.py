"""Text of models, commands and files, made safe to print: nothing of it moves the cursor or hides the rest. Pure."""

from __future__ import annotations

import re
import unicodedata

from codex_api.rows import NEWLINE_SIGN
from codex_worker.tools.display import escape_for_display, is_deceptive

MAX_SHOWN_CHARACTERS = 256 * 1024
TAB_SPACES = 4

# Colours, cursor movements, window titles: what terminals take for commands.
_TERMINAL_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]{0,4096}(?:\x07|\x1b\\)|[@-Z\\^_])")
# They only choose how the character before them is drawn, or join it to the next.
_JOINERS = str.maketrans(dict.fromkeys((0xFE0E, 0xFE0F, 0x200C, 0x200D)))
_WRITTEN_RIGHT_TO_LEFT = frozenset({"R", "AL", "AN"})


def safe_lines(text: str) -> str:
    """Return prose with its line breaks; whatever else is invisible or moves the cursor is escaped."""
    if len(text) > MAX_SHOWN_CHARACTERS:
        text = f"{text[:MAX_SHOWN_CHARACTERS]}\n… {len(text) - MAX_SHOWN_CHARACTERS:,} more characters"
    text = text.replace("\r\n", "\n").expandtabs(TAB_SPACES)
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    return "".join(map(_safe_character, text.translate(_JOINERS)))


def safe_line(text: str, width: int = 0) -> str:
    """Return the text on one line, cut to ``width`` characters where that is given."""
    # What lies beyond the width is not looked at: a command may be megabytes long.
    escaped = safe_lines(text[: width * 2] if width else text).replace("\n", NEWLINE_SIGN)
    return cut(escaped, width) if width else escaped


def safe_output_line(line: str) -> str:
    """Return a line of a command's output as a terminal would leave it: without colours, the last rewrite counts."""
    rewritten = _TERMINAL_SEQUENCE.sub("", line).rstrip("\r").rpartition("\r")[2]
    return safe_lines(rewritten).replace("\n", NEWLINE_SIGN)


def exact_lines(text: str, shown: str) -> list[str]:
    """Return the lines of ``text`` where they say exactly what ``shown`` says on one line, else ``shown`` alone."""
    if escape_for_display(text) != shown:
        return [safe_line(shown)]
    return [escape_for_display(line) for line in text.split("\n")]


def cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"


def _safe_character(character: str) -> str:
    if character == "\n" or not is_deceptive(character):
        return character
    # In prose a script written from right to left is no deception; the characters that switch direction are.
    if character.isprintable() and unicodedata.bidirectional(character) in _WRITTEN_RIGHT_TO_LEFT:
        return character
    return escape_for_display(character)
