"""Folders for Unix sockets: short, because the path of a socket has at most 107 bytes, and nobody else's.

A user's processes all have theirs in the same shared folder, which nobody removes: a sandbox that hides it hides what
comes later too. There are few places for it, all where a sandbox sees nothing anyway: a process that was told another
one would have its sockets where sandboxes of the others do not expect them.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from codex_client.local.bubblewrap import PRIVATE_FOLDERS, SOCKET_FOLDERS
from codex_client.local.errors import LocalError

NAME = f"codex-temporal-{os.getuid()}"
PARENTS = ("/tmp", f"/run/user/{os.getuid()}", "/var/tmp")  # noqa: S108 - only we may enter what is made there
LONGEST_SHARED = 107 - len("/12345678/100000/sandbox~")


class SocketFolder:
    """A folder for the sockets of this process; what killed processes left of theirs is removed on this occasion."""

    def __init__(self, runtime_folder: Path | None) -> None:
        """``runtime_folder`` is $XDG_RUNTIME_DIR; raises OSError, and LocalError where no place can be used."""
        self._places = _places(runtime_folder)
        short = (place for place in self._places if len(os.fsencode(place)) <= LONGEST_SHARED)
        shared = next(filter(_is_made, short), None)
        if shared is None:
            tried = ", ".join(str(place) for place in self._places)
            cure = "set XDG_RUNTIME_DIR to a folder of yours below /run or /tmp with a short path"
            raise LocalError(f"no sockets can be made in any of {tried}; {cure}")
        _sweep(place for place in self._places if _is_ours(place))
        self.path, self._lock = _locked_folder(shared)

    def of_generation(self, generation: int) -> Path:
        """Make the folder of one generation of a sandbox: its commands can write there, and nowhere else here."""
        folder = self.path / str(generation)
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    def remove(self) -> None:
        _remove(self.path)
        os.close(self._lock)

    def to_hide(self, workspace: Path) -> list[Path]:
        """Return where processes of this user have sockets, or may have them once the workspace is being worked in."""
        for place in self._places:
            if place.is_relative_to(workspace):
                # Nothing can be mounted over a folder that somebody makes later.
                _is_made(place)
        return [place for place in self._places if os.path.isdir(place) and not os.path.islink(place)]


def _places(runtime_folder: Path | None) -> list[Path]:
    """Return all shared folders there may be, in the order in which they are taken."""
    parents = [Path(parent).resolve() for parent in PARENTS]
    if runtime_folder is not None and _is_emptied(runtime_folder.resolve()):
        parents.insert(0, runtime_folder.resolve())
    return list(dict.fromkeys(parent / NAME for parent in parents))


def _is_emptied(folder: Path) -> bool:
    """Tell whether sandboxes see nothing there, also those that were started before it was used."""
    return any(folder.is_relative_to(emptied) for emptied in (*PRIVATE_FOLDERS, *SOCKET_FOLDERS))


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
                _remove(path)
                os.close(lock)


def _remove(folder: Path) -> None:
    """Remove it with all that commands put there, also where they took our rights to it."""
    for place, names, _ in os.walk(folder):
        for path in (os.path.join(place, name) for name in names):
            with suppress(OSError):
                if not os.path.islink(path):
                    os.chmod(path, 0o700)
    shutil.rmtree(folder, ignore_errors=True)


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
    """Lock a folder; None where somebody has it, or it is gone, not ours to open, or no folder."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            return None
        raise
    return descriptor
