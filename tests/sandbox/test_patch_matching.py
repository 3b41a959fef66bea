"""Where chunks apply, and what the file is afterwards."""

from __future__ import annotations

import contextlib
import difflib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_sandbox.patch.grammar import Chunk
from codex_sandbox.patch.matching import LineFinder, NoMatch, apply_chunks

few_lines = st.lists(st.sampled_from(["a", "b", " a", "a ", "", "c\r"]), max_size=6)
any_chunks = st.lists(
    st.builds(Chunk, few_lines.map(lambda lines: tuple(lines[:1])), few_lines.map(tuple), few_lines.map(tuple)),
    max_size=4,
)


def swap(old: str, new: str, *contexts: str, end_of_file: bool = False) -> Chunk:
    return Chunk(contexts, tuple(old.split("|")), tuple(new.split("|")), end_of_file)


def between(before: list[str], after: list[str], context: int) -> list[Chunk]:
    """Return chunks that turn one list of lines into the other."""
    groups = difflib.SequenceMatcher(None, before, after, autojunk=False).get_grouped_opcodes(context)
    return [
        Chunk((), tuple(before[group[0][1] : group[-1][2]]), tuple(after[group[0][3] : group[-1][4]]))
        for group in groups
    ]


@st.composite
def two_texts(draw: st.DrawFn) -> tuple[list[str], list[str]]:
    """Draw two lists of lines; each line of the first occurs once, or a chunk could mean several places."""
    before = draw(st.lists(st.integers(0, 99).map(str), unique=True, min_size=1, max_size=30))
    after = [line for line in before if draw(st.integers(0, 5))]
    for place in draw(st.lists(st.integers(0, 30), max_size=6)):
        after.insert(place, f"new {place}")
    return before, after


@given(two_texts(), st.integers(1, 4))
def test_chunks_made_from_two_texts_turn_one_into_the_other(texts: tuple[list[str], list[str]], context: int) -> None:
    before, after = texts
    content = "".join(f"{line}\n" for line in before)
    wanted = "".join(f"{line}\n" for line in after)
    assert apply_chunks(content, between(before, after, context)) == wanted
    # Without the last newline it means the same; a patch always writes one.
    assert apply_chunks(content[:-1], between(before, after, context)) == wanted


@given(few_lines, any_chunks)
def test_any_chunks_either_apply_or_find_no_place(lines: list[str], chunks: list[Chunk]) -> None:
    with contextlib.suppress(NoMatch):
        result = apply_chunks("\n".join(lines), chunks)
        assert result == "" or result.endswith("\n")


@given(few_lines, few_lines, st.integers(0, 6), st.booleans())
def test_a_found_place_holds_the_wanted_lines(lines: list[str], wanted: list[str], start: int, at_end: bool) -> None:
    place = LineFinder(lines).find(wanted, start, at_end)
    if place is not None and wanted:
        assert place >= start
        assert [line.strip() for line in lines[place : place + len(wanted)]] == [line.strip() for line in wanted]
        assert not at_end or place + len(wanted) == len(lines)


@pytest.mark.parametrize(
    ("lines", "place"),
    [
        (["b ", " b", "b"], 2),
        ([" b", "b "], 1),
        (["x", "  b "], 1),
        (["a", "c"], None),
    ],
)
def test_the_most_exact_match_wins_wherever_it_is(lines: list[str], place: int | None) -> None:
    assert LineFinder(lines).find(["b"], 0) == place


def test_typography_in_the_file_matches_ascii_in_the_patch() -> None:
    line = "a \u2013 \u201cb\u201d \u2018c\u2019\u00a0d"
    assert LineFinder([line]).find(["a - \"b\" 'c' d"], 0) == 0
    assert LineFinder(["a - b"]).find(["a \u2014 b"], 0) == 0


@pytest.mark.parametrize(
    ("before", "chunk", "after"),
    [
        ("a\nb\nc\n", swap("a|b", "a|B"), "a\nB\nc\n"),
        ("a\nb", swap("b", "c"), "a\nc\n"),
        ("a\nb", swap("a", "c"), "c\nb\n"),
        ("", Chunk((), (), ("y",)), "y\n"),
        ("a\nz\n", Chunk(("a",), (), ("y",)), "a\nz\ny\n"),
        ("a\n\n", Chunk((), (), ("y",)), "a\ny\n\n"),
        ("a\n", Chunk((), ("a",), ()), ""),
        ("x\na\nx\n", swap("x", "y", end_of_file=True), "x\na\ny\n"),
        ("x\n", swap("x|", "w|"), "w\n"),
        ("x\n\n", swap("x", "w"), "w\n\n"),
        (
            "class A\n  f\n    x\nclass B\n  f\n    x\n",
            swap("    x", "y", "class B", "  f"),
            "class A\n  f\n    x\nclass B\n  f\ny\n",
        ),
        ("    def f():\n    x\n", swap("    x", "    y", "def f():"), "    def f():\n    y\n"),
        ("a\r\nb\r\nc\r\n", swap("a|b", "a|B"), "a\nB\nc\r\n"),
        ("  a \n b\n", swap("a|b", "a|B"), "a\nB\n"),
        ("a\fb\u2028c\nd\n", swap("a\fb\u2028c", "e"), "e\nd\n"),
    ],
)
def test_one_chunk(before: str, chunk: Chunk, after: str) -> None:
    assert apply_chunks(before, [chunk]) == after


@pytest.mark.parametrize(
    ("before", "chunks", "complaint"),
    [
        ("a\n", [swap("z|y", "b")], "z\ny"),
        ("a\nb\n", [swap("b", "B"), swap("a", "A")], "a"),
        ("x\na\n", [swap("x", "y", end_of_file=True)], "x"),
        ("a\nb\nc\n", [swap("a|b|c", "1"), swap("c", "2", end_of_file=True)], "c"),
        ("x\n", [swap("x", "y", "x")], "x"),
        ("a\n", [swap("a", "b", "def f")], "def f"),
    ],
)
def test_chunks_that_fit_nowhere_say_what_was_looked_for(before: str, chunks: list[Chunk], complaint: str) -> None:
    with pytest.raises(NoMatch) as missed:
        apply_chunks(before, chunks)
    assert str(missed.value) == complaint


def test_later_chunks_are_looked_for_after_the_earlier_ones() -> None:
    assert apply_chunks("a\nb\na\n", [swap("a", "1"), swap("a", "2")]) == "1\nb\n2\n"


def test_a_hundred_thousand_lines_are_searched_quickly() -> None:
    content = "".join(f"line {number}\n" for number in range(100_000))
    chunks = [swap(f"  line {number}", f"LINE {number}") for number in range(0, 100_000, 1000)]
    assert apply_chunks(content, chunks).count("LINE") == 100
