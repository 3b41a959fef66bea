"""The text of a patch: `*** Begin Patch` … `*** End Patch` with files to add, delete and update.

Lenient where models are sloppy: spaces around markers, CR before LF, a shell's heredoc around it all.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Union

if TYPE_CHECKING:
    from collections.abc import Sequence

BEGIN, END = "*** Begin Patch", "*** End Patch"
ADD, DELETE, UPDATE = "*** Add File: ", "*** Delete File: ", "*** Update File: "
MOVE, END_OF_FILE, ENVIRONMENT = "*** Move to: ", "*** End of File", "*** Environment ID:"
HEREDOC_STARTS = ("<<EOF", "<<'EOF'", '<<"EOF"')
# The body starts on the second line, after BEGIN.
FIRST_BODY_LINE = 2


class InvalidPatch(ValueError):
    """The text is not a patch. `line` counts from 1 at the begin marker; None: the whole envelope is wrong."""

    def __init__(self, reason: str, line: int | None = None) -> None:
        where = "invalid patch: " if line is None else f"invalid hunk at line {line}, "
        super().__init__(where + reason)
        self.reason = reason
        self.line = line


@dataclasses.dataclass(frozen=True)
class Chunk:
    """Lines that stand together in a file and what replaces them."""

    contexts: tuple[str, ...]
    """Lines to go past first, each after the one before: a class, then its method."""
    old: tuple[str, ...]
    new: tuple[str, ...]
    end_of_file: bool = False
    """Whether `old` must be the last lines of the file."""


@dataclasses.dataclass(frozen=True)
class AddFile:
    """Write a file, whether there was one or not."""

    path: str
    content: str


@dataclasses.dataclass(frozen=True)
class DeleteFile:
    """Remove a file."""

    path: str


@dataclasses.dataclass(frozen=True)
class UpdateFile:
    """Change lines of a file, and perhaps its name."""

    path: str
    move_to: str | None
    chunks: tuple[Chunk, ...]


# Python 3.9 knows no other way to write this.
Hunk = Union[AddFile, DeleteFile, UpdateFile]  # noqa: UP007


@dataclasses.dataclass(frozen=True)
class Patch:
    """What a patch asks for, in its order."""

    hunks: tuple[Hunk, ...]

    def paths(self) -> tuple[str, ...]:
        """Return all paths that are written, deleted or moved to, as written, each once."""
        found: dict[str, None] = {}
        for hunk in self.hunks:
            found[hunk.path] = None
            if isinstance(hunk, UpdateFile) and hunk.move_to is not None:
                found[hunk.move_to] = None
        return tuple(found)


def parse_patch(text: str) -> Patch:
    """Read a patch; raises InvalidPatch and nothing else."""
    lines = [line.rstrip("\r") for line in text.strip().split("\n")]
    if lines == [""]:
        raise InvalidPatch(f"The last line of the patch must be '{END}'")
    if lines[0] in HEREDOC_STARTS and lines[-1].endswith("EOF") and len(lines) >= 4:
        lines = lines[1:-1]
    if lines[0].strip() != BEGIN:
        raise InvalidPatch(f"The first line of the patch must be '{BEGIN}'")
    if lines[-1].strip() != END:
        raise InvalidPatch(f"The last line of the patch must be '{END}'")
    return _Body(lines[1:-1]).parse()


class _Body:
    """The lines between the markers, read once from top to bottom."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._lines = lines
        self._next = 0

    @property
    def _line_number(self) -> int:
        return self._next + FIRST_BODY_LINE

    def parse(self) -> Patch:
        hunks: list[Hunk] = []
        self._skip_environment()
        while self._next < len(self._lines) and not self._ended():
            hunks.append(self._hunk())
        return Patch(tuple(hunks))

    def _skip_environment(self) -> None:
        # There is one environment here; the line only has to be well-formed.
        seen = 0
        while self._next < len(self._lines) and self._lines[self._next].strip().startswith(ENVIRONMENT):
            if not self._lines[self._next].strip()[len(ENVIRONMENT) :].strip():
                raise InvalidPatch("apply_patch environment_id cannot be empty")
            seen += 1
            self._next += 1
        if seen > 1:
            raise InvalidPatch("apply_patch environment_id cannot be specified more than once")

    def _ended(self) -> bool:
        if self._lines[self._next].strip() != END:
            return False
        if any(line.strip() not in ("", END) for line in self._lines[self._next :]):
            raise InvalidPatch(f"The last line of the patch must be '{END}'")
        return True

    def _hunk(self) -> Hunk:
        header, line_number = self._lines[self._next].strip(), self._line_number
        for marker in (ADD, DELETE, UPDATE):
            if header.startswith(marker):
                path = _path(header[len(marker) :], line_number)
                self._next += 1
                if marker == ADD:
                    return AddFile(path, self._added())
                return DeleteFile(path) if marker == DELETE else self._update(path, line_number)
        raise InvalidPatch(
            f"'{header}' is not a valid hunk header. Valid hunk headers: '*** Add File: {{path}}', "
            "'*** Delete File: {path}', '*** Update File: {path}'",
            line_number,
        )

    def _added(self) -> str:
        added = []
        while self._next < len(self._lines) and self._lines[self._next].startswith("+"):
            added.append(self._lines[self._next][1:] + "\n")
            self._next += 1
        return "".join(added)

    def _update(self, path: str, line_number: int) -> UpdateFile:
        move_to = None
        if self._next < len(self._lines) and self._lines[self._next].rstrip().startswith(MOVE):
            move_to = _path(self._lines[self._next].rstrip()[len(MOVE) :], self._line_number)
            self._next += 1
        chunks = _Chunks()
        while self._next < len(self._lines):
            line = self._lines[self._next]
            # Only the end is trimmed: a line that starts with a space is content.
            if line.rstrip() == END:
                break
            if line.rstrip().startswith((ADD, DELETE, UPDATE)):
                chunks.expect_complete(_unexpected(line), self._line_number)
                break
            chunks.read(line, self._line_number)
            self._next += 1
        chunks.expect_complete("Update hunk does not contain any lines", self._line_number)
        if not chunks.done:
            raise InvalidPatch(f"Update file hunk for path '{path}' is empty", line_number)
        return UpdateFile(path, move_to, tuple(chunks.done))


class _Chunks:
    """The chunks of one updated file; the last one grows until a marker closes it."""

    def __init__(self) -> None:
        self.done: list[Chunk] = []
        self._open = False
        self._contexts: list[str] = []
        self._old: list[str] = []
        self._new: list[str] = []

    @property
    def _empty(self) -> bool:
        return not self._old and not self._new

    def read(self, line: str, line_number: int) -> None:
        marker = line.rstrip()
        if marker == "@@" or marker.startswith("@@ "):
            self._start(marker[3:])
        elif self.done and not self._open:
            # After the end of the file only another chunk can follow.
            if line.strip():
                raise InvalidPatch(_no_context(line), line_number)
        elif marker == END_OF_FILE:
            self._end_file(line_number)
        elif line == "" or line[0] in " +-":
            self._add(line)
        else:
            raise InvalidPatch(_unexpected(line) if self._empty else _no_context(line), line_number)

    def expect_complete(self, complaint: str, line_number: int) -> None:
        if self._open and self._empty:
            raise InvalidPatch(complaint, line_number)
        self._close(end_of_file=False)

    def _start(self, context: str) -> None:
        # A marker right after another one narrows the place down further.
        if not self._empty:
            self._close(end_of_file=False)
        self._open = True
        if context:
            self._contexts.append(context)

    def _end_file(self, line_number: int) -> None:
        if not self._open:
            return
        if self._empty:
            raise InvalidPatch("Update hunk does not contain any lines", line_number)
        self._close(end_of_file=True)

    def _add(self, line: str) -> None:
        self._open = True
        if not line.startswith("+"):
            self._old.append(line[1:])
        if not line.startswith("-"):
            self._new.append(line[1:])

    def _close(self, end_of_file: bool) -> None:
        if not self._open:
            return
        self.done.append(Chunk(tuple(self._contexts), tuple(self._old), tuple(self._new), end_of_file))
        self._open, self._contexts, self._old, self._new = False, [], [], []


def _path(text: str, line_number: int) -> str:
    if "\0" in text:
        raise InvalidPatch("a path contains a null byte", line_number)
    return text


def _unexpected(line: str) -> str:
    return (
        f"Unexpected line found in update hunk: '{line}'. Every line should start with ' ' (context line), "
        "'+' (added line), or '-' (removed line)"
    )


def _no_context(line: str) -> str:
    return f"Expected update hunk to start with a @@ context marker, got: '{line}'"
