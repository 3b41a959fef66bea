"""Text written by a model, made safe to show to a person who decides about it."""

from __future__ import annotations

import unicodedata

from codex_api.rows import NEWLINE_SIGN

MAX_PREVIEW_BYTES = 2048
ELLIPSIS = "…"

TAB_SIGN = "⇥"
_OPENING = "⟨"
# Commands are full of backslashes: what they mean must be read as it is written, so no escape begins with one.
_SIGNS = {"\n": NEWLINE_SIGN, "\t": TAB_SIGN}
_MAX_KNOWN = 4096
# Right-to-left letters reorder the punctuation beside them even without a control character.
_REORDERING = frozenset({"R", "AL", "AN"})
# Drawn as nothing or as a blank although Unicode calls them letters, marks or symbols.
_BLANK_RANGES = (
    (0x034F, 0x034F),
    (0x115F, 0x1160),
    (0x17B4, 0x17B5),
    (0x180B, 0x180F),
    (0x2800, 0x2800),
    (0x3164, 0x3164),
    (0xFE00, 0xFE0F),
    (0xFFA0, 0xFFA0),
    (0xE0100, 0xE01EF),
)


def is_deceptive(character: str) -> bool:
    """Tell whether a character is invisible, moves the cursor, or reorders the text around it."""
    if character.isascii():
        return not character.isprintable()
    # Not printable covers controls, formats, surrogates, private use and every separator but the space.
    return (
        not character.isprintable()
        or unicodedata.bidirectional(character) in _REORDERING
        or any(first <= ord(character) <= last for first, last in _BLANK_RANGES)
    )


def escape_for_display(text: str) -> str:
    """Return the text on one line: a line break as ``⏎``, a tab as ``⇥``, other deceptive characters as ``⟨U+202E⟩``.

    Two different texts are never shown as the same: the signs themselves are written as ``⟨U+23CE⟩`` and the like.
    """
    return text if text.isascii() and text.isprintable() else text.translate(_MARKS)


def preview(text: str, max_bytes: int = MAX_PREVIEW_BYTES) -> tuple[str, bool]:
    """Return the escaped text in at most ``max_bytes`` bytes of UTF-8, and whether something had to be left out."""
    # Escaping never shortens, so what lies beyond the limit cannot be shown anyway.
    escaped = escape_for_display(text[: max_bytes + 1])
    if len(escaped.encode()) <= max_bytes and len(text) <= max_bytes:
        return escaped, False
    kept = escaped.encode()[: max_bytes - len(ELLIPSIS.encode())]
    return kept.decode(errors="ignore") + ELLIPSIS, True


class _Marks(dict[int, str]):
    """A character's code → what is shown for it, worked out when it is met; bounded, for a text may hold any."""

    def __missing__(self, code: int) -> str:
        shown = _shown(chr(code))
        if len(self) >= _MAX_KNOWN:
            self.clear()
        self[code] = shown
        return shown


_MARKS = _Marks()


def _shown(character: str) -> str:
    if character in _SIGNS:
        return _SIGNS[character]
    if is_deceptive(character) or _is_drawn_as_another(character) or character in (NEWLINE_SIGN, TAB_SIGN, _OPENING):
        return f"{_OPENING}U+{ord(character):04X}⟩"
    return character


def _is_drawn_as_another(character: str) -> bool:
    """Tell whether Unicode itself takes it for another single character, such as U+037E for a semicolon."""
    same = unicodedata.normalize("NFC", character)
    return len(same) == 1 and same != character
