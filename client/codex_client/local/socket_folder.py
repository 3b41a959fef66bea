"""Folders for Unix sockets: short, because the path of a socket has at most 107 bytes, and nobody else's.

A user's processes all have theirs in the same shared folder, which nobody removes: a sandbox that hides it hides what
comes later too.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable
from pathlib import Path

from codex_client.local.errors import LocalError

NAME = f"codex-temporal-{os.getuid()}"
PARENTS = ("/tmp", f"/run/user/{os.getuid()}")  # noqa: S108 - only we may enter what is made there
LONGEST_SHARED = 107 - len("/12345678/sandbox-100000")


class SocketFolder:
    """A folder for the sockets of this process; what killed processes left of theirs is removed on this occasion."""

    def __init__(self, runtime_folder: Path | None) -> None:
        """``runtime_folder`` is $XDG_RUNTIME_DIR; raises OSError, and LocalError where no place can be used."""
        self._places = _places(runtime_folder)
        short = (place for place in self._places if len(os.fsencode(place)) <= LONGEST_SHARED)
        shared = next(filter(_is_made, short), None)
        if shared is None:
            tried = ", ".join(str(place) for place in self._places)
            cure = "set XDG_RUNTIME_DIR to a folder of yours with a short path"
            raise LocalError(f"no sockets can be made in any of {tried}; {cure}")
        _sweep(place for place in self._places if _is_ours(place))
        self.path, self._lock = _locked_folder(shared)

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)

    def to_hide(self, workspace: Path) -> list[Path]:
        """Return where processes of this user have sockets, or may have them once the workspace is being worked in."""
        for place in self._places:
            if place.is_relative_to(workspace):
                # Nothing can be mounted over a folder that somebody makes later.
                _is_made(place)
        return [place for place in self._places if place.is_dir() and not place.is_symlink()]


def _places(runtime_folder: Path | None) -> list[Path]:
    """Return all shared folders there may be, in the order in which they are taken."""
    parents = [Path(tempfile.gettempdir()), *map(Path, PARENTS)]
    if runtime_folder is not None:
        parents.insert(0, runtime_folder)
    return list(dict.fromkeys(parent.resolve() / NAME for parent in parents))


def _is_made(place: Path) -> bool:
    """Make the shared folder where there is none, unless its name is taken or its parent cannot be written."""
    try:
        place.mkdir(mode=0o700, exist_ok=True)
    except OSError:
        return False
    return _is_ours(place) and os.access(place, os.W_OK | os.X_OK)


def _is_ours(place: Path) -> bool:
    """Tell whether nobody else can have put anything there: anybody can take a name in /tmp."""
    try:
        found = place.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077


def _sweep(places: Iterable[Path]) -> None:
    for place in places:
        for path in place.iterdir():
            lock = _lock(path)
            if lock is not None:
                shutil.rmtree(path, ignore_errors=True)
                os.close(lock)


def _locked_folder(place: Path) -> tuple[Path, int]:
    """Return a new folder and its lock, which ends with this process."""
    while True:
        path = Path(tempfile.mkdtemp(prefix="", dir=place))
        lock = _lock(path)
        # Somebody who sweeps may have been there first.
        if lock is not None and path.exists():
            return path, lock
        if lock is not None:
            os.close(lock)


def _lock(path: Path) -> int | None:
    """Lock a folder; None where somebody has it, or it is gone, or no folder."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            return None
        raise
    return descriptor
