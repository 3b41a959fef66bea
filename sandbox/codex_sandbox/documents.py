"""The project's own instructions for agents: AGENTS.md files from the repository's root down to the workspace."""

from __future__ import annotations

import codecs
import os
import stat

NAMES = ("AGENTS.override.md", "AGENTS.md")
ROOT_MARKER = ".git"
MAX_BYTES = 32 * 1024
MAX_FOLDERS = 64


def project_documents(workspace: str) -> tuple[list[tuple[str, str]], bool]:
    """Return ([(path, text)], truncated), outermost first, of at most MAX_BYTES in all.

    In each folder the first of NAMES that is a regular file counts. What cannot be read is left out.
    """
    documents = []
    left = MAX_BYTES
    truncated = False
    for folder in _folders(workspace):
        for name in NAMES:
            path = os.path.join(folder, name)
            content = _beginning(path, left + 1)
            if content is None:
                continue
            truncated = truncated or len(content) > left
            text = _decode(content[:left], cut=len(content) > left)
            left -= min(left, len(content))
            if text.strip():
                documents.append((path.encode("utf-8", "replace").decode("utf-8"), text))
            break
    return documents, truncated


def _folders(workspace: str) -> list[str]:
    """Return the folders from the nearest one with a repository down to the workspace; else only the workspace."""
    folders = [os.path.abspath(workspace)]
    while not os.path.lexists(os.path.join(folders[-1], ROOT_MARKER)):
        parent = os.path.dirname(folders[-1])
        if parent == folders[-1] or len(folders) == MAX_FOLDERS:
            return folders[:1]
        folders.append(parent)
    return folders[::-1]


def _beginning(path: str, most: int) -> bytes | None:
    try:
        # Without O_NONBLOCK a named pipe would hold up everything.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(most)
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _decode(content: bytes, cut: bool) -> str:
    # A character that the cut divided is dropped rather than shown as damage.
    return codecs.getincrementaldecoder("utf-8")("replace").decode(content, final=not cut)
