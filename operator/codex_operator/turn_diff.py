"""A unified diff in one line: which files, how many lines. Pure; it comes from a sandbox and may say anything."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

NOTHING = "/dev/null"
HUNK = re.compile(r"@@ -\d{1,9}(?:,(\d{1,9}))? \+\d{1,9}(?:,(\d{1,9}))? @@")


@dataclass
class DiffSummary:
    files: dict[str, None] = field(default_factory=dict)
    """In the diff's order."""
    added: int = 0
    removed: int = 0

    def line(self, *, truncated: bool) -> str:
        """Return for example ``2 files, +10 -3: a.py, b.py``; a diff that was cut counts for what is left of it."""
        if not self.files:
            return "no file is changed any more"
        count = "1 file" if len(self.files) == 1 else f"{len(self.files)} files"
        least = "at least " if truncated else ""
        return f"{least}{count}, +{self.added} -{self.removed}: {', '.join(self.files)}"


def summarize_diff(unified_diff: str) -> DiffSummary:
    """Count what a unified diff changes; the hunks' own counts tell headers from lines that look like them."""
    summary = DiffSummary()
    old_left = new_left = 0
    before = ""
    for line in unified_diff.split("\n"):
        if old_left > 0 or new_left > 0:
            kind = line[:1]
            summary.added += kind == "+"
            summary.removed += kind == "-"
            old_left -= kind in ("-", " ", "")
            new_left -= kind in ("+", " ", "")
        elif found := HUNK.match(line):
            old_left, new_left = (int(count) if count is not None else 1 for count in found.groups())
        elif line.startswith("diff --git "):
            # All that a renamed or a binary file has; the same name follows where there are lines.
            summary.files[line.rpartition(" b/")[2]] = None
        elif line.startswith("--- "):
            before = _path(line)
        elif line.startswith("+++ "):
            after = _path(line)
            summary.files[before if after == NOTHING else after] = None
    return summary


def _path(header: str) -> str:
    """Return the path of a ``---`` or ``+++`` line, without a tab and what follows it, and without git's a/ or b/."""
    path = header[4:].split("\t")[0]
    return path[2:] if path.startswith(("a/", "b/")) else path
