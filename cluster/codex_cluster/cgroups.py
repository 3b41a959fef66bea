"""The cgroup below which the node's pods live, in every hierarchy that this machine has mounted."""

from __future__ import annotations

import time
from pathlib import Path

from codex_cluster.errors import ClusterError

EMPTYING_SECONDS = 10.0
CPUSET_FILES = ("cpuset.cpus", "cpuset.mems")


def hierarchies(mounts: str) -> list[Path]:
    """Mount points of cgroup v1 and v2 in the text of /proc/mounts."""
    lines = [line.split() for line in mounts.splitlines()]
    return sorted({Path(fields[1]) for fields in lines if fields[2] in {"cgroup", "cgroup2"}})


def create(name: str) -> None:
    """Make the cgroup; a version 1 cpuset takes no process until it has its parent's processors and memory nodes."""
    for hierarchy in _mounted():
        folder = hierarchy / name
        folder.mkdir(exist_ok=True)
        for file in CPUSET_FILES:
            parent = hierarchy / file
            if parent.exists() and (folder / file).exists() and not (folder / file).read_text().strip():
                (folder / file).write_text(parent.read_text())


def remove(name: str) -> None:
    """Remove the cgroup and all below it once its processes are gone; raises ClusterError after 10 s."""
    deadline = time.monotonic() + EMPTYING_SECONDS
    for hierarchy in _mounted():
        while (hierarchy / name).exists():
            try:
                _remove_tree(hierarchy / name)
            except OSError as error:
                if time.monotonic() > deadline:
                    raise ClusterError(f"cgroup {hierarchy / name} still has processes: {error}") from error
                time.sleep(0.05)


def _remove_tree(folder: Path) -> None:
    for child in folder.iterdir():
        if child.is_dir():
            _remove_tree(child)
    folder.rmdir()


def _mounted() -> list[Path]:
    return hierarchies(Path("/proc/mounts").read_text())
