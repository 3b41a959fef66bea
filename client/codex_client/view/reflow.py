"""Rows that a terminal breaks anew when it becomes narrower. Pure but for what it prints."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.control import Control
from rich.segment import ControlType

_LINE_AND_UP = ((ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1))


def reflows(environment: Mapping[str, str] = os.environ) -> bool:
    """Tell whether the terminal breaks long rows anew; xterm, screen and the Linux console cut them off."""
    term = environment.get("TERM", "")
    if term.startswith("screen"):
        return "TMUX" in environment
    return term != "linux" and "XTERM_VERSION" not in environment


def extra_rows(widths: Sequence[int], columns: int) -> int:
    """Return how many rows more than ``widths`` has the same text takes in ``columns``."""
    return sum(max(0, width - 1) // columns for width in widths)


def erase_extra_rows(console: Console, widths: Sequence[int]) -> None:
    """Erase from the cursor upwards what a narrower terminal made more of rows that were drawn for a wider one."""
    for _ in range(extra_rows(widths, max(1, console.width))):
        console.control(Control(*_LINE_AND_UP))
