"""The tool view_image: a picture in the sandbox that the model gets to see."""

from __future__ import annotations

import base64
from typing import Annotated, Any, Literal

from pydantic import AfterValidator

from codex_sandbox.protocol import FileContent
from codex_worker.tools.exec_command import PathText, ToolArguments, default_for_null, filled

# Base64 adds a third, and the picture is part of every later request.
MAX_IMAGE_BYTES = 3 * 1024 * 1024
MAX_CONVERSATION_CHARACTERS = 8 * 1024 * 1024
"""Of all images in a conversation as they are sent, since its last compaction."""

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)


class NotAnImage(Exception):
    """The file cannot be shown; the message is written for the model."""


class ViewImageArguments(ToolArguments):
    path: Annotated[PathText, AfterValidator(filled)]
    """Relative to the workspace."""
    detail: Annotated[Literal["high", "original"], default_for_null("high")] = "high"


def media_type(content: bytes) -> str | None:
    """Return what the first bytes of a file say it is; None where that is no picture a model reads."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for magic, kind in _MAGIC if content.startswith(magic)), None)


def image_output(path: str, file: FileContent, detail: str) -> list[dict[str, Any]]:
    """Return the output of the call; raises NotAnImage."""
    if file.truncated or len(file.content) > MAX_IMAGE_BYTES:
        raise NotAnImage(f"the image at `{path}` has {file.size} bytes, more than {MAX_IMAGE_BYTES}; make it smaller")
    kind = media_type(file.content)
    if kind is None:
        raise NotAnImage(f"unable to process image at `{path}`: it is none of PNG, JPEG, GIF, WebP")
    data = base64.b64encode(file.content).decode("ascii")
    return [{"type": "input_image", "image_url": f"data:{kind};base64,{data}", "detail": detail}]
