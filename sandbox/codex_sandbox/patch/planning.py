"""What a patch would do to the files as they are now. Only reads: all hunks fit, or none is applied."""

from __future__ import annotations

import dataclasses
import os
import stat
from typing import TYPE_CHECKING

from codex_sandbox.patch.grammar import AddFile, DeleteFile
from codex_sandbox.patch.matching import NoMatch, apply_chunks

if TYPE_CHECKING:
    from codex_sandbox.patch.grammar import Patch, UpdateFile

MAX_FILE_BYTES = 32 * 1024 * 1024
MAX_SHOWN_LINES, MAX_SHOWN_CHARACTERS = 200, 8192


class PatchFailed(Exception):
    """The patch does not fit; nothing was changed."""


@dataclasses.dataclass(frozen=True)
class Change:
    """One file of the patch, with paths as written. `files` are the real paths whose state it decides."""

    kind: str
    """add, delete or update."""
    path: str
    move_path: str | None
    files: tuple[str, ...]

    @property
    def final_path(self) -> str:
        """Where the file is afterwards."""
        return self.path if self.move_path is None else self.move_path


@dataclasses.dataclass
class FileState:
    """A file before and after; None where there is none."""

    shown: str
    """The path in messages: absolute, links not resolved."""
    before: bytes | None
    after: bytes | None
    moved_from: str | None = None
    """The real path whose mode and history the new file takes over."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """All changes of a patch in its order, and by real path the state of each file they touch."""

    changes: tuple[Change, ...]
    files: dict[str, FileState]


def plan_patch(patch: Patch, directory: str) -> Plan:
    """Work out every change, relative paths from `directory`; raises PatchFailed.

    Hunks see what the hunks before them did. `..` is resolved in the text of a path, before any link is followed.
    """
    if not patch.hunks:
        raise PatchFailed("No files were modified.")
    planner = _Planner(directory)
    changes = []
    for hunk in patch.hunks:
        if isinstance(hunk, AddFile):
            changes.append(planner.add(hunk))
        elif isinstance(hunk, DeleteFile):
            changes.append(planner.delete(hunk))
        else:
            changes.append(planner.update(hunk))
    return Plan(tuple(changes), planner.files)


def reason(error: OSError) -> str:
    """Return what the system says of an error, with its number."""
    return f"{error.strerror} (os error {error.errno})"


class _Planner:
    def __init__(self, directory: str) -> None:
        self._directory = directory
        self.files: dict[str, FileState] = {}

    def add(self, hunk: AddFile) -> Change:
        shown = self._shown(hunk.path)
        real = self._write(shown, hunk.content)
        return Change("add", hunk.path, None, (real,))

    def delete(self, hunk: DeleteFile) -> Change:
        shown = self._shown(hunk.path)
        # The link itself goes, not what it leads to.
        real = os.path.join(os.path.realpath(os.path.dirname(shown)), os.path.basename(shown))
        known = self.files.get(real)
        try:
            if known is None:
                known = self.files[real] = FileState(shown, _bytes_to_remove(real), None)
            elif known.after is None:
                raise FileNotFoundError(2, "No such file or directory")
        except OSError as error:
            raise PatchFailed(f"Failed to delete file {shown}: {reason(error)}") from error
        known.after = None
        return Change("delete", hunk.path, None, (real,))

    def update(self, hunk: UpdateFile) -> Change:
        shown = self._shown(hunk.path)
        content = self._read(shown)
        try:
            content = apply_chunks(content, hunk.chunks)
        except NoMatch as error:
            raise PatchFailed(_explain(error, shown)) from error
        source = os.path.realpath(shown)
        target = shown if hunk.move_to is None else self._shown(hunk.move_to)
        real = self._write(target, content)
        if real == source:
            return Change("update", hunk.path, hunk.move_to, (real,))
        self.files[real].moved_from = source
        left = os.path.join(os.path.realpath(os.path.dirname(shown)), os.path.basename(shown))
        if left not in self.files:
            self.files[left] = FileState(shown, _bytes_to_remove(left), None)
        self.files[left].after = None
        return Change("update", hunk.path, hunk.move_to, (real, left))

    def _shown(self, path: str) -> str:
        return os.path.normpath(os.path.join(self._directory, path))

    def _write(self, shown: str, content: str) -> str:
        real = os.path.realpath(shown)
        known = self.files.get(real)
        if known is None:
            known = self.files[real] = FileState(shown, _bytes_to_replace(real, shown), None)
        known.after = content.encode("utf-8", "surrogateescape")
        return real

    def _read(self, shown: str) -> str:
        real = os.path.realpath(shown)
        known = self.files.get(real)
        try:
            content = known.after if known is not None else _file_bytes(real, shown)
            if content is None:
                raise FileNotFoundError(2, "No such file or directory")
            return content.decode("utf-8")
        except UnicodeDecodeError as error:
            length = error.end - error.start
            wrong = f"invalid utf-8 sequence of {length} bytes from index {error.start}"
            raise PatchFailed(f"Failed to read file to update {shown}: {wrong}") from error
        except OSError as error:
            raise PatchFailed(f"Failed to read file to update {shown}: {reason(error)}") from error


def _file_bytes(real: str, shown: str) -> bytes:
    # Without O_NONBLOCK a named pipe would hold us up for ever.
    descriptor = os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise PatchFailed(f"Failed to read file to update {shown}: path `{shown}` is not a file")
        if status.st_size > MAX_FILE_BYTES:
            sizes = f"it has {status.st_size} bytes, and a patch can change files of at most {MAX_FILE_BYTES}"
            raise PatchFailed(f"Failed to read file to update {shown}: {sizes}; change it by a command instead")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(descriptor)


def _bytes_to_replace(real: str, shown: str) -> bytes | None:
    try:
        if not stat.S_ISREG(os.stat(real).st_mode):
            raise PatchFailed(f"Failed to write file {shown}: path `{shown}` is not a file")
        return _bytes_to_remove(real)
    except OSError:
        # Absent, or below a file or a folder that cannot be entered: writing it will tell.
        return None


def _bytes_to_remove(real: str) -> bytes:
    """Return what a file holds, for the diff only: nothing where it cannot be read. Raises OSError if it is none."""
    status = os.lstat(real)
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(21, "Is a directory")
    if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_FILE_BYTES:
        return b""
    try:
        with open(real, "rb") as file:
            return file.read()
    except PermissionError:
        return b""


def _explain(error: NoMatch, shown: str) -> str:
    if error.context is not None:
        return f"Failed to find context '{error.context[:MAX_SHOWN_CHARACTERS]}' in {shown}"
    lines = "\n".join(error.expected[:MAX_SHOWN_LINES])[:MAX_SHOWN_CHARACTERS]
    missing = len(error.expected) - lines.count("\n") - 1
    more = f"\n… {missing} more lines" if missing > 0 else ""
    return f"Failed to find expected lines in {shown}:\n{lines}{more}"
