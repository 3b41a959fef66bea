"""What a process has written since it was last reported: a head and a tail, with the size of what fell out between."""

from __future__ import annotations

import dataclasses

CAPACITY = 1024 * 1024


@dataclasses.dataclass(frozen=True)
class OutputSlice:
    """One report of output; lengths are in bytes of the process, not of the text."""

    text: str
    produced: int
    omitted: int
    omitted_at: int | None
    """Index into `text` where the omitted bytes are missing."""
    lines: int
    """Of everything produced, kept or not; an unfinished one at the end counts."""


class OutputBuffer:
    """Keeps at most about `capacity` bytes however much is appended."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._head_capacity = capacity // 2
        self._tail_capacity = capacity - self._head_capacity
        self._head = bytearray()
        self._tail = bytearray()
        self._produced = 0
        self._line_ends = 0
        self._in_line = False

    def append(self, data: bytes) -> None:
        """Add what the process wrote."""
        self._produced += len(data)
        self._line_ends += data.count(b"\n")
        self._in_line = not data.endswith(b"\n") if data else self._in_line
        room = self._head_capacity - len(self._head)
        if room:
            self._head += data[:room]
            data = data[room:]
        self._tail += data
        # Cut only at twice the capacity, so that each byte is moved about once.
        if len(self._tail) > 2 * self._tail_capacity:
            del self._tail[: -self._tail_capacity]

    def take(self, limit: int, final: bool) -> OutputSlice:
        """Return everything since the last call in at most `limit` bytes, and empty the buffer.

        Unless it is `final`, an unfinished UTF-8 character at the end stays for the next report.
        """
        if len(self._tail) > self._tail_capacity:
            del self._tail[: -self._tail_capacity]
        gap = self._produced > len(self._head) + len(self._tail)
        kept = bytes(self._head + self._tail)
        held = b"" if final else _unfinished_character(bytes(self._tail[-3:]) if gap else kept[-3:])
        kept = kept[: len(kept) - len(held)]
        produced = self._produced - len(held)
        if not gap and len(kept) <= limit:
            head, tail = kept, b""
        else:
            head = kept[: min(limit // 2, len(self._head))]
            tail = kept[max(len(kept) - (limit - limit // 2), len(self._head) if gap else 0) :]
            head = head[: len(head) - len(_unfinished_character(head[-3:]))]
            tail = tail[_continuation_bytes(tail) :]
        lines = self._line_ends + self._in_line
        self._head, self._tail, self._produced = bytearray(held), bytearray(), len(held)
        self._line_ends, self._in_line = 0, bool(held)
        text = head.decode("utf-8", "replace")
        omitted = produced - len(head) - len(tail)
        return OutputSlice(
            text=text + tail.decode("utf-8", "replace"),
            produced=produced,
            omitted=omitted,
            omitted_at=len(text) if omitted else None,
            lines=lines,
        )


def _unfinished_character(end: bytes) -> bytes:
    """Return the bytes at the end that are the beginning of a longer UTF-8 character."""
    for length in range(1, min(3, len(end)) + 1):
        byte = end[-length]
        if byte < 0x80:
            return b""
        if byte >= 0xC0:
            expected = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4 if byte < 0xF8 else 1
            return end[-length:] if expected > length else b""
    return b""


def _continuation_bytes(data: bytes) -> int:
    """Return how many bytes (at most 3) at the start belong to a character that was cut."""
    count = 0
    while count < min(3, len(data)) and 0x80 <= data[count] < 0xC0:
        count += 1
    return count
