"""Finding the lines that a chunk talks about, and the file that results. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from codex_sandbox.patch.grammar import Chunk

# Typographic dashes, quotes and spaces that models write as their ASCII relatives.
_ASCII = {
    **dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2015\u2212"), "-"),
    **dict.fromkeys(map(ord, "\u2018\u2019\u201a\u201b"), "'"),
    **dict.fromkeys(map(ord, "\u201c\u201d\u201e\u201f"), '"'),
    **dict.fromkeys(map(ord, "\u00a0\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"), " "),
}


class NoMatch(Exception):
    """A chunk does not fit. `expected` are the lines that were looked for; `context` is set when it is a `@@` line."""

    def __init__(self, expected: Sequence[str], context: str | None = None) -> None:
        super().__init__("\n".join(expected))
        self.expected = tuple(expected)
        self.context = context


def apply_chunks(content: str, chunks: Sequence[Chunk]) -> str:
    """Return the file with all chunks applied, ending in a newline unless it is empty; raises NoMatch.

    Lines that a chunk matched become the chunk's own, so spaces and line ends follow the patch there; a CR that ends
    any other line stays.
    """
    lines = content.split("\n")
    if lines[-1] == "":
        lines.pop()
    result: list[str] = []
    done = 0
    for start, count, new in sorted(_replacements(lines, chunks), key=lambda replacement: replacement[0]):
        result += lines[done:start]
        result += new
        done = max(done, start + count)
    result += lines[done:]
    return "".join(line + "\n" for line in result)


def _replacements(lines: list[str], chunks: Sequence[Chunk]) -> list[tuple[int, int, Sequence[str]]]:
    finder = LineFinder(lines)
    found: list[tuple[int, int, Sequence[str]]] = []
    start = 0
    for chunk in chunks:
        for context in chunk.contexts:
            at = finder.find((context,), start)
            if at is None:
                raise NoMatch((context,), context)
            start = at + 1
        if not chunk.old:
            # Nothing says where: at the end, before a last empty line.
            found.append((len(lines) - (lines[-1:] == [""]), 0, chunk.new))
            continue
        at, old, new = _place(finder, chunk, start)
        found.append((at, len(old), new))
        start = at + len(old)
    return found


def _place(finder: LineFinder, chunk: Chunk, start: int) -> tuple[int, Sequence[str], Sequence[str]]:
    old, new = chunk.old, chunk.new
    at = finder.find(old, start, chunk.end_of_file)
    if at is None and old[-1] == "":
        # Often a blank line of the patch rather than of the file.
        old, new = old[:-1], new[:-1] if new[-1:] == ("",) else new
        at = finder.find(old, start, chunk.end_of_file)
    if at is None:
        raise NoMatch(chunk.old)
    return at, old, new


class LineFinder:
    """Looks for a run of lines in a file: exactly, without trailing space, without both, without typography."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._lines = [list(lines)]

    def find(self, wanted: Sequence[str], start: int, at_end: bool = False) -> int | None:
        """Return where `wanted` begins, at `start` or later; with `at_end` only as the last lines."""
        if not wanted:
            return start
        last = len(self._lines[0]) - len(wanted)
        first = max(start, last) if at_end else start
        for step, simplify in enumerate(_SIMPLIFICATIONS):
            if step == len(self._lines):
                self._lines.append([simplify(line) for line in self._lines[0]])
            at = _search(self._lines[step], [simplify(line) for line in wanted], first, last)
            if at is not None:
                return at
        return None


def _search(lines: list[str], wanted: list[str], first: int, last: int) -> int | None:
    while first <= last:
        try:
            first = lines.index(wanted[0], first, last + 1)
        except ValueError:
            return None
        if lines[first : first + len(wanted)] == wanted:
            return first
        first += 1
    return None


def _without_typography(line: str) -> str:
    return line.strip().translate(_ASCII)


_SIMPLIFICATIONS: tuple[Callable[[str], str], ...] = (str, str.rstrip, str.strip, _without_typography)
