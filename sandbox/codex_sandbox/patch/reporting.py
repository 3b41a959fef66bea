"""What is told about an applied patch: a text for the model, an object for who asked, a diff of the turn."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from codex_sandbox.patch.baselines import Baselines, current
from codex_sandbox.patch.unified import unified_diff

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from codex_sandbox.patch.baselines import Baseline
    from codex_sandbox.patch.planning import Change

MAX_DIFF_BYTES = 64 * 1024
# Together with the diff well below a megabyte, the most that a command's output may have.
MAX_TEXT_BYTES, MAX_CHANGES_BYTES = 32 * 1024, 128 * 1024
LETTERS = {"add": "A", "update": "M", "delete": "D"}


def success_text(changes: Sequence[Change]) -> str:
    """Return the summary that the model reads, one line a file."""
    return "Success. Updated the following files:\n" + listing(changes)


def listing(changes: Sequence[Change]) -> str:
    """Return `A path` lines: added files first, then modified, then deleted ones."""
    ordered = sorted(changes, key=lambda change: list(LETTERS).index(change.kind))
    return "".join(f"{LETTERS[change.kind]} {change.final_path}\n" for change in ordered)


def report(exit_code: int, text: str, changes: Sequence[Change], baselines: Baselines, root: str) -> dict[str, Any]:
    """Return the report; paths in its diff are relative to `root` where they are below it."""
    diff, truncated = bounded(diff_of(baselines.all(), root), MAX_DIFF_BYTES)
    shown, cut = bounded(text.splitlines(keepends=True), MAX_TEXT_BYTES)
    return {
        "exit_code": exit_code,
        "text": shown + "… and more\n" if cut else text,
        "changes": _listed(changes),
        "diff": diff,
        "diff_truncated": truncated,
    }


def _listed(changes: Sequence[Change]) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = []
    left = MAX_CHANGES_BYTES
    for change in changes:
        entry = {"path": change.path, "kind": change.kind, "move_path": change.move_path}
        left -= len(json.dumps(entry))
        if left < 0:
            break
        listed.append(entry)
    return listed


def diff_of(baselines: Sequence[Baseline], root: str) -> Iterator[str]:
    """Yield the lines of a diff from the baselines to the files as they are now."""
    by_path = {baseline.real: baseline for baseline in baselines}
    moved = {
        baseline.moved_from
        for baseline in baselines
        if _is_move(baseline, by_path) and current(baseline.real)[0] is not None
    }
    for baseline in baselines:
        new, new_opaque = current(baseline.real)
        old, old_opaque, old_name = baseline.text, baseline.opaque, _name(baseline.shown, root)
        if baseline.real in moved and new is None:
            continue
        if new is not None and _is_move(baseline, by_path):
            source = by_path[str(baseline.moved_from)]
            old, old_opaque, old_name = source.text, source.opaque, _name(source.shown, root)
        if old is None and new is None:
            continue
        new_name = _name(baseline.shown, root)
        if old_opaque or new_opaque:
            yield f"diff --git a/{old_name} b/{new_name}\nBinary or large files differ\n"
            continue
        yield from unified_diff(
            None if old is None else old_name, None if new is None else new_name, old or "", new or ""
        )


def bounded(lines: Iterable[str], most: int) -> tuple[str, bool]:
    """Return as many whole lines as fit into `most` bytes of UTF-8, and whether some did not."""
    kept: list[str] = []
    size = 0
    for line in lines:
        size += len(line.encode("utf-8", "replace"))
        if size > most:
            return "".join(kept), True
        kept.append(line)
    return "".join(kept), False


def _is_move(baseline: Baseline, by_path: dict[str, Baseline]) -> bool:
    source = by_path.get(baseline.moved_from) if baseline.moved_from is not None else None
    return baseline.text is None and source is not None and current(source.real)[0] is None


def _name(shown: str, root: str) -> str:
    inside = os.path.relpath(shown, root)
    return shown.lstrip("/") if inside.startswith("..") else inside
