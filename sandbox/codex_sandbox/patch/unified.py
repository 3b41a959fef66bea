"""Unified diffs of whole files, with a bound on the work. Pure."""

from __future__ import annotations

import difflib
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CONTEXT_LINES = 3
# Pairs of equal lines that may be compared; beyond, everything between the common ends counts as changed.
MAX_PAIRS = 200_000


class _Blocks(difflib.SequenceMatcher[str]):
    """Groups blocks found elsewhere as difflib groups its own."""

    def __init__(self, blocks: list[tuple[str, int, int, int, int]]) -> None:
        super().__init__(None, "", "")
        self._blocks = blocks

    def get_opcodes(self) -> list[Any]:
        """Return the blocks."""
        return self._blocks


def unified_diff(old_path: str | None, new_path: str | None, old: str, new: str) -> Iterator[str]:
    """Yield the lines of a diff, each with its newline; nothing where there is no difference. None: no such file."""
    if (old_path, old) == (new_path, new):
        return
    either = old_path if old_path is not None else new_path
    yield f"diff --git a/{either} b/{new_path if new_path is not None else either}\n"
    if old_path is None:
        yield "new file mode 100644\n"
    elif new_path is None:
        yield "deleted file mode 100644\n"
    elif old_path != new_path:
        yield f"rename from {old_path}\n"
        yield f"rename to {new_path}\n"
    old_lines, new_lines = _lines(old), _lines(new)
    if old_lines == new_lines:
        return
    yield "--- /dev/null\n" if old_path is None else f"--- a/{old_path}\n"
    yield "+++ /dev/null\n" if new_path is None else f"+++ b/{new_path}\n"
    for group in _Blocks(_blocks(old_lines, new_lines)).get_grouped_opcodes(CONTEXT_LINES):
        yield from _hunk(group, old_lines, new_lines)


def _lines(text: str) -> list[str]:
    lines = [line + "\n" for line in text.split("\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines


def _blocks(old: Sequence[str], new: Sequence[str]) -> list[tuple[str, int, int, int, int]]:
    """Return (what, old start, old end, new start, new end) blocks, `what` being equal or changed."""
    shorter = min(len(old), len(new))
    start = 0
    while start < shorter and old[start] == new[start]:
        start += 1
    end = 0
    while end < shorter - start and old[-1 - end] == new[-1 - end]:
        end += 1
    old_end, new_end = len(old) - end, len(new) - end
    middle = [("changed", start, old_end, start, new_end)]
    if _pairs(old[start:old_end], new[start:new_end]) <= MAX_PAIRS:
        matcher = difflib.SequenceMatcher(None, old[start:old_end], new[start:new_end], autojunk=False)
        middle = [
            ("equal" if tag == "equal" else "changed", a + start, b + start, c + start, d + start)
            for tag, a, b, c, d in matcher.get_opcodes()
        ]
    whole = [("equal", 0, start, 0, start), *middle, ("equal", old_end, len(old), new_end, len(new))]
    return [block for block in whole if block[1] < block[2] or block[3] < block[4]]


def _pairs(old: Sequence[str], new: Sequence[str]) -> int:
    counts = Counter(new)
    return sum(count * counts[line] for line, count in Counter(old).items())


def _hunk(group: list[tuple[str, int, int, int, int]], old: Sequence[str], new: Sequence[str]) -> Iterator[str]:
    old_start, old_end, new_start, new_end = group[0][1], group[-1][2], group[0][3], group[-1][4]
    yield f"@@ -{_range(old_start, old_end)} +{_range(new_start, new_end)} @@\n"
    for what, a, b, c, d in group:
        if what == "equal":
            yield from _marked(" ", old[a:b])
        else:
            yield from _marked("-", old[a:b])
            yield from _marked("+", new[c:d])


def _marked(mark: str, lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        yield mark + line.rstrip("\n") + "\n"
        if not line.endswith("\n"):
            yield "\\ No newline at end of file\n"


def _range(start: int, end: int) -> str:
    length = end - start
    if length == 1:
        return str(start + 1)
    return f"{start + 1 if length else start},{length}"
