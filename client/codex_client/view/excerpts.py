"""The beginning and the end of long texts, and what a diff amounts to. Pure, and the work is bounded too."""

from __future__ import annotations

from dataclasses import dataclass

MAX_LINE_CHARACTERS = 4096


@dataclass(frozen=True)
class Excerpt:
    head: list[str]
    omitted: int
    """Lines between head and tail."""
    tail: list[str]


def excerpt(text: str, head: int, tail: int) -> Excerpt:
    """Return the first and last lines of a text, each cut to a bounded length; trailing line breaks do not count."""
    text = text.rstrip("\n")
    if not text:
        return Excerpt([], 0, [])
    lines = text.count("\n") + 1
    if lines <= head + tail + 1:
        return Excerpt([line[:MAX_LINE_CHARACTERS] for line in text.split("\n")], 0, [])
    first = [line[:MAX_LINE_CHARACTERS] for line in text.split("\n", head)[:head]]
    last = [line[:MAX_LINE_CHARACTERS] for line in text.rsplit("\n", tail)[1:]] if tail else []
    return Excerpt(first, lines - head - tail, last)


@dataclass(frozen=True)
class FileDiff:
    path: str
    added: int
    removed: int


def diff_stat(unified_diff: str) -> list[FileDiff]:
    """Return how many lines a unified diff adds and removes in each file."""
    files: list[FileDiff] = []
    old = new = ""
    left_old = left_new = added = removed = 0
    for line in unified_diff.split("\n"):
        if left_old > 0 or left_new > 0:
            # Within a hunk a line that begins like a file header is content.
            mark = line[:1]
            left_old -= mark in (" ", "-", "")
            left_new -= mark in (" ", "+", "")
            added, removed = added + (mark == "+"), removed + (mark == "-")
            files[-1] = FileDiff(files[-1].path, added, removed)
        elif line.startswith("--- "):
            old = _path(line)
        elif line.startswith("+++ "):
            new, added, removed = _path(line), 0, 0
            files.append(FileDiff(old if new == "/dev/null" else new, 0, 0))
        elif line.startswith("@@ ") and files:
            left_old, left_new = _hunk_lengths(line)
    return files


def _path(header: str) -> str:
    path = header[4:].partition("\t")[0]
    return path[2:] if path[:2] in ("a/", "b/") else path


def _hunk_lengths(header: str) -> tuple[int, int]:
    """Return how many old and new lines follow ``@@ -1,2 +1,3 @@``; none where the header is senseless."""
    lengths = []
    for part in header.split(" ")[1:3]:
        length = part.partition(",")[2] or "1"
        lengths.append(int(length) if length.isdecimal() and len(length) < 10 else 0)
    return (lengths[0], lengths[1]) if len(lengths) == 2 else (0, 0)
