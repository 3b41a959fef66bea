"""Text as a model streams it: a hint for whoever watches in this process. The finished item is what counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Delta:
    """A piece of one attempt at a step; the pieces of an attempt that failed are to be forgotten."""

    session: str
    turn: int
    step: int
    attempt: str
    """Differs between two attempts at the same step."""
    kind: Literal["text", "reasoning"]
    text: str


OnDelta = Callable[[Delta], None]
