"""The tool's own exceptions; `__main__` prints them without a traceback."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

TAIL_LINES = 20


class ClusterError(Exception):
    """What went wrong and, where there is one, the cure; one readable paragraph."""


class CommandFailedError(ClusterError):
    """A program that the tool started ended with a non-zero status."""

    def __init__(self, argv: Sequence[str], status: int, output: str, log: Path | None = None) -> None:
        self.status = status
        tail = "\n".join("    " + line for line in output.rstrip().splitlines()[-TAIL_LINES:])
        where = f"\n  whole output: {log}" if log else ""
        super().__init__(f"`{' '.join(argv)[:300]}` ended with status {status}{where}\n{tail}")
