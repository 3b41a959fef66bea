"""Where local mode keeps what has to last."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from codex_client.local.errors import LocalError


@dataclass(frozen=True)
class StateFolder:
    """Readable by its owner only: the journal holds whole conversations."""

    root: Path

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> StateFolder:
        """Follow the XDG base directory specification."""
        base = environment.get("XDG_STATE_HOME") or os.path.join(environment.get("HOME") or "~", ".local", "state")
        return cls(Path(base).expanduser().absolute() / "codex-temporal")

    def create(self) -> None:
        """Make the folders; raises LocalError."""
        try:
            for folder in (self.root, self.locks, self.logs, self.downloads):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.root.chmod(0o700)
        except OSError as error:
            raise LocalError(f"cannot keep state in {self.root}: {error.strerror}; set XDG_STATE_HOME") from error

    @property
    def journal(self) -> Path:
        return self.root / "journal.db"

    @property
    def locks(self) -> Path:
        """One file per session, locked by the process that runs it."""
        return self.root / "locks"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def worker(self) -> Path:
        """What a running worker says of itself."""
        return self.root / "worker.json"

    @property
    def worker_lock(self) -> Path:
        """Locked as long as that worker lives."""
        return self.root / "worker.lock"

    @property
    def downloads(self) -> Path:
        return self.root / "downloads"

    def is_full(self) -> bool:
        """Tell whether the journal has no room left."""
        try:
            disk = os.statvfs(self.root)
        except OSError:
            return False
        return disk.f_bavail * disk.f_frsize < 256 * 1024
