"""How files were before the first patch of a turn, kept in a private folder. For display: losing them fails nothing."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from codex_sandbox.patch.planning import Plan

# A larger file is named in the diff, and not shown.
MAX_BASELINE_BYTES = 1024 * 1024
MAX_BASELINES = 1000


@dataclasses.dataclass(frozen=True)
class Baseline:
    """A file when a turn first touched it."""

    real: str
    shown: str
    text: str | None
    """None where there was no file."""
    opaque: bool = False
    """Binary or large."""
    moved_from: str | None = None
    """The real path of the file that was moved here."""


class Baselines:
    """The baselines of one turn. `folder` is shared by the turns of one session; older turns are dropped."""

    def __init__(self, folder: str | None, turn: int) -> None:
        self._root = folder
        self._folder = None if folder is None else os.path.join(folder, f"turn-{turn}")
        self._now: dict[str, Baseline] = {}

    def remember(self, plan: Plan) -> None:
        """Note the files of a plan, before it is carried out."""
        for real, state in plan.files.items():
            text, opaque = _displayable(state.before)
            self._now[real] = Baseline(real, state.shown, text, opaque, state.moved_from)
        with contextlib.suppress(OSError):
            self._store()

    def all(self) -> list[Baseline]:
        """Return what is known of this turn, in the order of paths."""
        found = dict(self._now)
        if self._folder is not None:
            with contextlib.suppress(OSError):
                for name in sorted(os.listdir(self._folder))[:MAX_BASELINES]:
                    baseline = _load(os.path.join(self._folder, name))
                    if baseline is not None:
                        found[baseline.real] = baseline
        return sorted(found.values(), key=lambda baseline: baseline.shown)

    def _store(self) -> None:
        if self._root is None or self._folder is None:
            return
        os.makedirs(self._root, mode=0o700, exist_ok=True)
        for name in os.listdir(self._root):
            if os.path.join(self._root, name) != self._folder:
                _remove(os.path.join(self._root, name))
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        for baseline in self._now.values():
            name = hashlib.sha256(baseline.real.encode("utf-8", "surrogateescape")).hexdigest()
            path = os.path.join(self._folder, name)
            if os.path.exists(path):
                continue
            with open(path + ".new", "w", encoding="ascii") as file:
                json.dump(dataclasses.asdict(baseline), file)
            os.replace(path + ".new", path)


def _remove(folder: str) -> None:
    for name in os.listdir(folder):
        os.unlink(os.path.join(folder, name))
    os.rmdir(folder)


def current(real: str) -> tuple[str | None, bool]:
    """Return (text or None where there is no file, opaque) of a file as it is now."""
    try:
        if not os.path.isfile(real) or os.path.islink(real):
            return None, False
        if os.path.getsize(real) > MAX_BASELINE_BYTES:
            return "", True
        with open(real, "rb") as file:
            return _displayable(file.read())
    except OSError:
        return "", True


def _displayable(content: bytes | None) -> tuple[str | None, bool]:
    if content is None:
        return None, False
    if len(content) > MAX_BASELINE_BYTES or b"\0" in content:
        return "", True
    try:
        return content.decode("utf-8"), False
    except UnicodeDecodeError:
        return "", True


def _load(path: str) -> Baseline | None:
    try:
        with open(path, encoding="ascii") as file:
            return Baseline(**json.load(file))
    # A command of the session may have written it.
    except (OSError, ValueError, TypeError):
        return None
