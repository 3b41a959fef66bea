"""What the calls of one reply share when they are judged."""

from __future__ import annotations

import math
from dataclasses import dataclass

from codex_api.rows import SessionSettings


@dataclass(frozen=True)
class CallContext:
    session: str
    """Uid."""
    turn: int
    step: int
    settings: SessionSettings
    nonce: str
    """Fresh randomness of this reply: without it an approval given to an earlier session would match."""
    asked_before: int = 0
    """How many calls of the turn were asked for in earlier steps; only makes approval ids readable."""
    judging_ends: float = math.inf
    """In the judging thread's processor time (``time.thread_time``): what is not judged by then is asked."""
