from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from codex_sandbox.output_buffer import CAPACITY, OutputBuffer

chunks = st.lists(st.binary(max_size=40) | st.text(max_size=12).map(lambda text: text.encode()), max_size=12)


@given(chunks)
def test_output_that_fits_is_reported_whole(written: list[bytes]) -> None:
    buffer = OutputBuffer()
    for data in written:
        buffer.append(data)
    taken = buffer.take(CAPACITY, final=True)
    whole = b"".join(written)
    assert (taken.text, taken.produced, taken.omitted) == (whole.decode("utf-8", "replace"), len(whole), 0)
    assert taken.omitted_at is None


@given(st.lists(st.sampled_from([b"a", b"\n", b"bc\nd", b""]), max_size=12), st.integers(0, 8))
def test_lines_are_counted_also_where_they_are_not_kept(written: list[bytes], capacity: int) -> None:
    buffer = OutputBuffer(capacity)
    for data in written:
        buffer.append(data)
    assert buffer.take(4, final=True).lines == len(b"".join(written).splitlines())
    assert buffer.take(4, final=True).lines == 0


@given(st.text(max_size=60), st.lists(st.integers(0, 240), max_size=8))
def test_reports_in_pieces_never_break_a_character(text: str, cuts: list[int]) -> None:
    data = text.encode()
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    buffer = OutputBuffer()
    taken = []
    for begin, end in itertools.pairwise(places):
        buffer.append(data[begin:end])
        taken.append(buffer.take(CAPACITY, final=False))
    taken.append(buffer.take(CAPACITY, final=True))
    assert "".join(part.text for part in taken) == text
    assert sum(part.produced for part in taken) == len(data)


@given(chunks, st.integers(0, 64), st.integers(0, 64), st.booleans())
def test_head_tail_and_what_was_omitted_add_up(written: list[bytes], capacity: int, limit: int, final: bool) -> None:
    buffer = OutputBuffer(capacity)
    for data in written:
        buffer.append(data)
    whole = b"".join(written)
    taken = buffer.take(limit, final)
    rest = buffer.take(limit + 8, final=True)
    assert taken.produced + rest.produced == len(whole)
    assert len(rest.text) <= 3
    assert 0 <= taken.omitted <= taken.produced
    if taken.omitted_at is None:
        assert taken.omitted == 0
        assert whole[: taken.produced].decode("utf-8", "replace") == taken.text
        return
    kept = taken.produced - taken.omitted
    assert kept <= limit
    head, tail = taken.text[: taken.omitted_at], taken.text[taken.omitted_at :]
    lengths = [
        (first, kept - first)
        for first in range(kept + 1)
        if whole[:first].decode("utf-8", "replace") == head
        and whole[taken.produced - (kept - first) : taken.produced].decode("utf-8", "replace") == tail
    ]
    assert lengths


@given(st.text(st.characters(codec="utf-8", exclude_characters="\ufffd"), min_size=1, max_size=30), st.integers(0, 40))
def test_cutting_valid_text_leaves_valid_text(text: str, limit: int) -> None:
    buffer = OutputBuffer(1000)
    buffer.append((text * 40).encode())
    assert "\ufffd" not in buffer.take(limit, final=True).text


def test_the_memory_stays_bounded_however_much_is_written() -> None:
    buffer = OutputBuffer()
    block = bytes(range(256)) * 256
    for _ in range(400):
        buffer.append(block)
    assert len(buffer._head) + len(buffer._tail) < 2 * CAPACITY
    taken = buffer.take(CAPACITY, final=True)
    assert taken.produced == 400 * len(block)
    assert CAPACITY - 8 <= taken.produced - taken.omitted <= CAPACITY


def test_after_a_report_the_buffer_starts_again_with_a_head() -> None:
    buffer = OutputBuffer(100)
    buffer.append(b"a" * 1000)
    buffer.take(100, final=False)
    buffer.append(b"fresh")
    assert buffer.take(100, final=True).text == "fresh"
