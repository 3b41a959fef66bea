"""One line of JSON on stderr for each event."""

from __future__ import annotations

import json
import sys
import time


def log(event: str, **details: object) -> None:
    """Write an event; values that are not JSON are written as text."""
    line = {"time": round(time.time(), 3), "event": event, **details}
    try:
        sys.stderr.write(json.dumps(line, default=str) + "\n")
        sys.stderr.flush()
    except OSError:
        # Nobody reads the log, or the disk is full; the commands matter more.
        return
