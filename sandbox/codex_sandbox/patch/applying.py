"""Carrying out a plan: everything is written beside its place first, then moved there, then old files go."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from codex_sandbox.patch.planning import PatchFailed, reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from codex_sandbox.patch.planning import Change, FileState, Plan


class PartlyApplied(PatchFailed):
    """It went wrong on the way. `done` are the changes that were made before, and stay."""

    def __init__(self, message: str, done: tuple[Change, ...]) -> None:
        super().__init__(message)
        self.done = done


def apply_plan(plan: Plan) -> None:
    """Change the files; raises PatchFailed (nothing was changed) or PartlyApplied.

    Before the first file is changed all new contents are on the disk, so a full one changes nothing.
    """
    staging = _Staging()
    try:
        staged = {real: staging.write(real, state) for real, state in plan.files.items() if state.after is not None}
        _commit(plan, staged)
    finally:
        staging.clean_up()


def _commit(plan: Plan, staged: dict[str, str]) -> None:
    done: set[str] = set()
    try:
        for real, temporary in staged.items():
            with _failing_as("write", plan.files[real]):
                os.replace(temporary, real)
            done.add(real)
        for real, state in plan.files.items():
            if state.after is None:
                if state.before is not None:
                    with _failing_as("delete", state):
                        os.unlink(real)
                done.add(real)
    except PatchFailed as error:
        if done:
            changes = tuple(change for change in plan.changes if done.issuperset(change.files))
            raise PartlyApplied(str(error), changes) from error
        raise


class _Staging:
    """New contents under temporary names, and the folders made for them."""

    def __init__(self) -> None:
        self._files: list[str] = []
        self._folders: list[str] = []

    def write(self, real: str, state: FileState) -> str:
        """Write the new content beside its place; return the temporary path. Raises PatchFailed."""
        with _failing_as("write", state):
            folder = os.path.dirname(real)
            self._make_folders(folder)
            like = _status(real) or (_status(state.moved_from) if state.moved_from is not None else None)
            # Replacing a file needs no right to write it: a read-only file must still refuse.
            if _exists(real) and not os.access(real, os.W_OK):
                raise PermissionError(13, "Permission denied")
            temporary = os.path.join(folder, f".codex-patch-{os.urandom(8).hex()}")
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            self._files.append(temporary)
            with open(descriptor, "wb") as file:
                file.write(state.after or b"")
                if like is not None:
                    _take_over(descriptor, like)
        return temporary

    def clean_up(self) -> None:
        """Remove what is still there under a temporary name, and folders of ours that stayed empty."""
        for path in self._files:
            with contextlib.suppress(OSError):
                os.unlink(path)
        for path in reversed(self._folders):
            with contextlib.suppress(OSError):
                os.rmdir(path)

    def _make_folders(self, folder: str) -> None:
        missing = []
        while not os.path.isdir(folder):
            if os.path.lexists(folder):
                raise NotADirectoryError(20, "Not a directory")
            missing.append(folder)
            folder = os.path.dirname(folder)
        for path in reversed(missing):
            os.mkdir(path)
            self._folders.append(path)


def _exists(path: str) -> bool:
    # Unlike os.path.exists, which also calls an impossible name absent.
    try:
        os.lstat(path)
    except FileNotFoundError:
        return False
    return True


def _status(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None


def _take_over(descriptor: int, like: os.stat_result) -> None:
    own = os.fstat(descriptor)
    if (own.st_uid, own.st_gid) != (like.st_uid, like.st_gid):
        with contextlib.suppress(PermissionError):
            os.fchown(descriptor, like.st_uid, like.st_gid)
    os.fchmod(descriptor, like.st_mode & 0o7777)


@contextlib.contextmanager
def _failing_as(verb: str, state: FileState) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PatchFailed(f"Failed to {verb} file {state.shown}: {reason(error)}") from error
