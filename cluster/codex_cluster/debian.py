"""Debian packages that the host provider needs and this machine lacks."""

from __future__ import annotations

from pathlib import Path

from codex_cluster import commands
from codex_cluster.progress import Progress

APT = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--yes", "--quiet"]


def install(packages: list[str], log: Path, progress: Progress) -> None:
    """Install packages with apt-get; raises CommandFailedError with the end of its output."""
    if not packages:
        return
    title = f"installing Debian packages {' '.join(packages)}"
    with progress.step(title, estimate_seconds=40, log=log):
        commands.run_logged([*APT, "update"], log)
        commands.run_logged([*APT, "install", "--no-install-recommends", *packages], log)
