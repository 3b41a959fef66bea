"""Folders for Unix sockets: short, because the path of a socket has at most 107 bytes, and nobody else's."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

PREFIX = "codex-temporal-"
LONGEST_PARENT = 107 - len(f"/{PREFIX}12345678/sandbox-100000")


def make_socket_folder(runtime_folder: Path | None) -> Path:
    """Make one and return its real path; raises OSError.

    ``runtime_folder`` is $XDG_RUNTIME_DIR; where it cannot be used, the folder is below that of temporary files.
    """
    return Path(tempfile.mkdtemp(prefix=PREFIX, dir=runtime_folder if _is_usable(runtime_folder) else None)).resolve()


def remove_socket_folder(socket: str, runtime_folder: Path | None) -> None:
    """Remove the folder of a socket that somebody left who was killed; leaves alone what is not one of ours."""
    folder = Path(socket).parent
    parents = {Path(tempfile.gettempdir()).resolve()}
    if runtime_folder is not None:
        parents.add(runtime_folder.resolve())
    if folder.name.startswith(PREFIX) and folder.parent in parents and not folder.is_symlink():
        shutil.rmtree(folder, ignore_errors=True)


def _is_usable(folder: Path | None) -> bool:
    if folder is None or len(os.fsencode(folder.resolve())) > LONGEST_PARENT:
        return False
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
