"""Tokens where nobody counted them: four bytes are one, and an image is an image. No tokenizer is asked. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

# The estimate the Codex CLI uses.
BYTES_PER_TOKEN = 4
IMAGE_TOKENS = 1_600
_IMAGE_START = "data:"


def item_tokens(item: Mapping[str, Any]) -> int:
    """Estimate an item; an image counts as an image, not as the bytes it is sent in."""
    images = _images(item)
    hidden = sum(len(part["image_url"]) for part in images)
    return (len(json.dumps(item)) - hidden) // BYTES_PER_TOKEN + IMAGE_TOKENS * len(images)


def image_characters(item: Mapping[str, Any]) -> int:
    """Return how long the images of an item are as they are sent."""
    return sum(len(part["image_url"]) for part in _images(item))


def _images(item: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [part for part in item_parts(item) if str(part.get("image_url", "")).startswith(_IMAGE_START)]


def item_parts(item: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the parts of a message or of an output that has parts."""
    found = item.get("content") or item.get("output")
    return [part for part in found if isinstance(part, Mapping)] if isinstance(found, list) else []
