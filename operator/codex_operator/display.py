"""Text for people: one line, bounded, without characters that could deceive a terminal."""

from __future__ import annotations

import unicodedata

ELLIPSIS = "…"
# Cc and Cf hold the control and bidirectional characters, Zl and Zp the separators, Cs lone surrogates that JSON lacks.
ESCAPED_CATEGORIES = frozenset({"Cc", "Cf", "Zl", "Zp", "Cs"})


def escape(text: str, *, keep: str = "") -> str:
    """Escape control and bidirectional characters as ``\\xNN`` or ``\\uNNNN``; idempotent, backslashes stay."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character
        if character in keep or unicodedata.category(character) not in ESCAPED_CATEGORIES
        else character.encode("unicode_escape", "surrogatepass").decode("ascii")
        for character in text
    )


def cut(text: str, limit: int) -> str:
    """Return at most ``limit`` bytes of UTF-8, ending in an ellipsis where something was cut."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= limit:
        return text
    return encoded[: limit - len(ELLIPSIS.encode())].decode("utf-8", "ignore") + ELLIPSIS


def one_line(text: str, limit: int) -> str:
    """Return the text on one line of at most ``limit`` bytes, escaped."""
    return cut(escape(" ".join(text.split())), limit)


def paragraph(text: str, limit: int) -> str:
    """Return the text with its line breaks, at most ``limit`` bytes, escaped."""
    return cut(escape(text, keep="\n\t"), limit)


def duration(seconds: float) -> str:
    """Return a length of time as people say it: ``0.3 s``, ``42 s``, ``3 min``, ``2 h 5 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
