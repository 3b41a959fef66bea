"""A bound on what parsing a frame of a hostile sandbox may cost in memory.

Eight megabytes of `[],[],` become 180 MB of lists. Legitimate frames are one long string and little else, so all that
is outside of strings must be small. Client side only: the pattern needs Python 3.11.
"""

from __future__ import annotations

import re

from codex_sandbox.frames import FrameError

MAX_STRUCTURE_BYTES = 64 * 1024
# Possessive, so that matching needs neither backtracking nor memory.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"')


def check_structure(frame: bytes) -> None:
    """Raise FrameError when more than MAX_STRUCTURE_BYTES of the frame are outside of strings."""
    if len(frame) <= MAX_STRUCTURE_BYTES:
        return
    outside = len(frame)
    for match in _STRING.finditer(frame):
        outside -= match.end() - match.start() - 2
    if outside > MAX_STRUCTURE_BYTES:
        raise FrameError("the frame is not what this protocol sends")
