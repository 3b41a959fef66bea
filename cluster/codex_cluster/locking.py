"""Lock files: who may build, who may change a cluster.

A lock file stays behind, because deleting it would let two processes in.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Wait until nobody else holds the file, then hold it."""
    with _locked(path, fcntl.LOCK_EX):
        yield


@contextmanager
def shared(path: Path) -> Iterator[None]:
    """Hold the file together with others, but with nobody who holds it exclusively."""
    with _locked(path, fcntl.LOCK_SH):
        yield


@contextmanager
def exclusive_now(path: Path) -> Iterator[bool]:
    """Hold the file if nobody else does; says whether."""
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


@contextmanager
def _locked(path: Path, mode: int) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, mode)
        yield
