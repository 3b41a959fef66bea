"""Who started which process: everything below the supervisor, read from /proc.

The supervisor is a subreaper (or PID 1), so whatever a command starts stays below it, however it detaches itself.
"""

from __future__ import annotations

import ctypes
import os
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

PR_SET_CHILD_SUBREAPER = 36
MAX_WALKS = 10
# In the environment of every command, inherited by what it starts: evidence, not proof.
CALL_VARIABLE = "CODEX_CALL_ID"


@dataclass(frozen=True)
class ProcessEntry:
    """One line of the process table."""

    pid: int
    parent: int
    group: int
    session: int
    start_ticks: int
    zombie: bool


def become_subreaper() -> None:
    """Make orphans our children; raises OSError where the kernel refuses."""
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def read_entry(pid: int) -> ProcessEntry | None:
    """Return a process, or None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            line = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name in parentheses may itself contain spaces and parentheses.
    values = line[line.rindex(b")") + 2 :].split()
    return ProcessEntry(
        pid=pid,
        parent=int(values[1]),
        group=int(values[2]),
        session=int(values[3]),
        start_ticks=int(values[19]),
        zombie=values[0] in (b"Z", b"X"),
    )


def descendants(root: int) -> list[ProcessEntry]:
    """Return every living process below `root`, parents before their children.

    A process whose parent ends during the walk moves to `root` behind our back, so one walk proves nothing: it is
    repeated until two find the same processes living and the same ended. What forks all the time can prevent that;
    then those that just ended are returned, too, so that nobody takes the tree for empty.
    """
    met = _walk(root)
    for _ in range(MAX_WALKS):
        before, met = met, _walk(root)
        if _ended(met) == _ended(before) and met.keys() == before.keys():
            return [entry for entry in met.values() if not entry.zombie]
    return [entry for entry in met.values() if entry.pid not in _ended(before)]


def _ended(met: dict[int, ProcessEntry]) -> set[int]:
    return {entry.pid for entry in met.values() if entry.zombie}


def has_children_files() -> bool:
    """Whether the kernel lists the children of a thread; not all do (gVisor)."""
    return os.path.exists("/proc/thread-self/children")


def _walk(root: int) -> dict[int, ProcessEntry]:
    children = _children_of_threads if has_children_files() else _whole_table().__getitem__
    met = {}
    waiting = [root]
    while waiting:
        for pid in children(waiting.pop()):
            entry = read_entry(pid)
            if entry is not None:
                met[pid] = entry
                waiting.append(pid)
    return met


def _whole_table() -> dict[int, list[int]]:
    children: dict[int, list[int]] = defaultdict(list)
    for name in os.listdir("/proc"):
        entry = read_entry(int(name)) if name.isdigit() else None
        if entry is not None:
            children[entry.parent].append(entry.pid)
    return children


def _children_of_threads(pid: int) -> list[int]:
    children: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                children += [int(child) for child in file.read().split()]
    except (FileNotFoundError, ProcessLookupError):
        # Gone meanwhile: its children have become the root's, where the next walk finds them.
        pass
    return children


def read_call_variable(pid: int) -> str | None:
    """Return the call id in a process' environment, or None where there is none or it cannot be read."""
    prefix = CALL_VARIABLE.encode() + b"="
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            variables = file.read().split(b"\0")
    except OSError:
        return None
    for variable in variables:
        if variable.startswith(prefix):
            return os.fsdecode(variable[len(prefix) :])
    return None


def belonging(
    entries: Iterable[ProcessEntry],
    root: int,
    sessions: Mapping[int, str],
    wanted: Callable[[str], bool],
    orphans_since: int | None,
    marker: Callable[[int], str | None] = read_call_variable,
) -> list[ProcessEntry]:
    """Return the processes that belong to wanted calls.

    `entries` come parents first. A process belongs by its session (session id → call id), by its parent or by the call
    id in its environment. Orphans that none of this explains belong as well when they started at or after
    `orphans_since` (clock ticks after boot): a command can hide its descendants in no other way.
    """
    owned: dict[int, bool] = {}
    result = []
    for entry in entries:
        call = sessions.get(entry.session)
        mine = owned.get(entry.parent, False) or (call is not None and wanted(call))
        if not mine:
            marked = marker(entry.pid)
            mine = marked is not None and wanted(marked)
        if not mine and call is None and entry.parent == root and orphans_since is not None:
            mine = entry.start_ticks >= orphans_since
        owned[entry.pid] = mine
        if mine:
            result.append(entry)
    return result
