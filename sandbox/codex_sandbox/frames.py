"""Frames: one JSON object a line, at most 8 MiB, on both sides."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from codex_sandbox.errors import SandboxProtocolError

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_FRAME_BYTES = 8 * 1024 * 1024


class FrameError(SandboxProtocolError):
    """A frame is too long, or not a JSON object."""


def encode_frame(message: Mapping[str, Any]) -> bytes:
    """Return the frame of a message; raises FrameError when it is too long to be accepted by the other side."""
    frame = json.dumps(message, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n"
    if len(frame) > MAX_FRAME_BYTES:
        raise FrameError(f"the frame has {len(frame)} bytes, more than {MAX_FRAME_BYTES}")
    return frame


def decode_frame(frame: bytes) -> dict[str, Any]:
    """Return the message of a frame; raises FrameError."""
    try:
        message = json.loads(frame, parse_constant=_refuse_constant)
    # Deep nesting ends in RecursionError, which is no ValueError.
    except (ValueError, RecursionError) as error:
        raise FrameError(f"the frame is not JSON: {type(error).__name__}") from error
    if not isinstance(message, dict):
        raise FrameError("the frame is not a JSON object")
    return message


async def read_frame(reader: asyncio.StreamReader) -> bytes | None:
    """Return the next line, or None at the end of the stream; raises FrameError for a frame that is too long or cut.

    The reader must have been made with `limit=MAX_FRAME_BYTES`.
    """
    try:
        return await reader.readuntil(b"\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise FrameError("the stream ended within a frame") from error
        return None
    except asyncio.LimitOverrunError as error:
        raise FrameError(f"the frame is longer than {MAX_FRAME_BYTES} bytes") from error


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
