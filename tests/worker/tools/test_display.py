"""What an approver sees tells exactly what the text is."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_worker.tools.display import ELLIPSIS, MAX_PREVIEW_BYTES, escape_for_display, is_deceptive, preview

ESCAPE = re.compile(r"⏎|⇥|⟨U\+([0-9A-F]{4,6})⟩")


def unescape(shown: str) -> str:
    """Read an escaped text as a person who knows the signs would."""
    return ESCAPE.sub(lambda found: {"⏎": "\n", "⇥": "\t"}.get(found[0]) or chr(int(found[1], 16)), shown)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ls -l | wc", "ls -l | wc"),
        ("a\nb\tc\rd", "a⏎b⇥c⟨U+000D⟩d"),
        ("\x1b[2K", "⟨U+001B⟩[2K"),
        ("a\x00b\x7fc\x85d", "a⟨U+0000⟩b⟨U+007F⟩c⟨U+0085⟩d"),
        ("rm \u202etxt.exe", "rm ⟨U+202E⟩txt.exe"),
        ("a\u200bb\ufeff", "a⟨U+200B⟩b⟨U+FEFF⟩"),
        ("a\u00a0b\u3000", "a⟨U+00A0⟩b⟨U+3000⟩"),
        ("\U000e0041", "⟨U+E0041⟩"),
        ("\ud800", "⟨U+D800⟩"),
        ("\u05d0/\u05d1", "⟨U+05D0⟩/⟨U+05D1⟩"),
        ("a⏎b⇥c⟨U+202E⟩", "a⟨U+23CE⟩b⟨U+21E5⟩c⟨U+27E8⟩U+202E⟩"),
        ("ls\u037e \u212a\u1fef", "ls⟨U+037E⟩ ⟨U+212A⟩⟨U+1FEF⟩"),
        ("Grüße 你好 🙂 বিষ\u09df", "Grüße 你好 🙂 বিষ\u09df"),
        *((text, text) for text in (r"grep 'a\.b' x", r"printf 'a\nb\u202e'", r"C:\\x\ ")),
        ("a \\\n b", "a \\⏎ b"),
    ],
)
def test_deceptive_characters_are_shown_as_escapes(text: str, shown: str) -> None:
    assert escape_for_display(text) == shown


REORDERING = frozenset(["R", "AL", "AN", "LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"])
INVISIBLE = frozenset(["Cc", "Cf", "Cs", "Co", "Cn", "Zs", "Zl", "Zp"])


def test_every_invisible_or_reordering_character_of_unicode_is_visible_when_escaped() -> None:
    checked = 0
    # Beyond the assigned planes everything is alike: one in a hundred will do.
    for code in (
        *range(0x40000),
        *range(0x40000, 0xE0000, 100),
        *range(0xE0000, 0xE1000),
        *range(0xF0000, 0x110000, 100),
    ):
        character = chr(code)
        invisible = unicodedata.category(character) in INVISIBLE and character != " "
        if invisible or unicodedata.bidirectional(character) in REORDERING:
            shown = escape_for_display(character)
            assert re.fullmatch(r"[⏎⇥]|⟨U\+[0-9A-F]{4,6}⟩", shown), hex(code)
            checked += 1
    assert checked > 50_000


@given(st.text() | st.text("\\nxuU+202E⟨⟩⏎⇥\n\t\x1b\u202e"))
def test_two_texts_are_never_shown_as_the_same(text: str) -> None:
    shown = escape_for_display(text)
    assert unescape(shown) == text
    assert not any(is_deceptive(character) for character in shown)


@given(st.text(max_size=3000) | st.text("a\n\u202e\U000e0041é", min_size=300, max_size=3000), st.integers(16, 2048))
def test_a_preview_is_whole_or_says_that_it_is_not(text: str, limit: int) -> None:
    shown, truncated = preview(text, limit)
    assert len(shown.encode()) <= limit
    if truncated:
        assert len(escape_for_display(text).encode()) > limit
        assert shown.endswith(ELLIPSIS)
        assert escape_for_display(text).startswith(shown.removesuffix(ELLIPSIS))
    else:
        assert shown == escape_for_display(text)


def test_two_kibibytes_are_shown_and_one_byte_more_is_not() -> None:
    assert preview("x" * MAX_PREVIEW_BYTES) == ("x" * MAX_PREVIEW_BYTES, False)
    assert preview("x" * (MAX_PREVIEW_BYTES + 1))[1]
    assert preview("\n" * (MAX_PREVIEW_BYTES // 2 + 1))[1]
