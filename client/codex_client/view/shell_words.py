"""Command lines in the spelling of the Codex CLI: a word is quoted only where it has to be. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

# Each takes the longest beginning that this way of quoting can hold; a caret has to open single quotes.
_UNQUOTED = re.compile(r"[A-Za-z0-9+\-./:@\]_]+")
_SINGLE = re.compile(r"\^?[^'\\^]+|\^")
_DOUBLE = re.compile(r"[^`$!^]+")
_ESCAPED_IN_DOUBLE = re.compile(r'["\\]')


def joined(words: Iterable[str]) -> str:
    """Return the words as one line that a POSIX shell takes apart again."""
    return " ".join(map(quoted, words))


def quoted(word: str) -> str:
    if not word:
        return "''"
    parts, position = [], 0
    while position < len(word):
        part, position = _next_part(word, position)
        parts.append(part)
    return "".join(parts)


def _next_part(word: str, position: int) -> tuple[str, int]:
    """Return the longest quoted part from ``position`` on, and where it ends; the plainest where two are as long."""
    found = [
        (pattern.match(word, position), mark) for pattern, mark in ((_UNQUOTED, ""), (_SINGLE, "'"), (_DOUBLE, '"'))
    ]
    match, mark = max(((match, mark) for match, mark in found if match), key=lambda candidate: candidate[0].end())
    text = _ESCAPED_IN_DOUBLE.sub(r"\\\g<0>", match[0]) if mark == '"' else match[0]
    return f"{mark}{text}{mark}", match.end()
