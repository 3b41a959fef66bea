"""What the commands of a session must not even read: secrets of the user, and sockets of daemons."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

# Below the home folder; hidden where they exist.
SECRETS = (
    ".ssh", ".gnupg", ".aws", ".azure", ".kube", ".docker", ".codex", ".claude", ".terraform.d", ".password-store",
    ".config/gcloud", ".config/gh", ".config/op", ".config/containers", ".local/share/keyrings", ".mozilla",
    ".config/google-chrome", ".config/chromium", ".netrc", ".pypirc", ".npmrc", ".git-credentials", ".vault-token",
    ".pgpass", ".my.cnf", ".cargo/credentials", ".cargo/credentials.toml", ".gem/credentials",
    ".bash_history", ".zsh_history", ".python_history", ".psql_history",
)  # fmt: skip
# Virtual machines with a container engine: whoever reaches its socket is out of the sandbox.
ENGINES = (".colima", ".config/colima", ".rd", ".orbstack", ".lima", ".minikube", ".local/share/containers/podman")
SYSTEM_ENGINES = (
    "/var/lib/docker", "/var/lib/containerd", "/var/lib/containers", "/var/lib/lxd", "/var/lib/incus",
    "/var/lib/kubelet", "/var/lib/libvirt", "/var/snap/lxd",
)  # fmt: skip
SCAN_SECONDS = 0.02


def hidden_paths(home: Path, workspace: Path) -> Iterator[Path]:
    """Yield what to hide that exists, links resolved; folders that the user works in were meant and are left out."""
    paths = [*(home / name for name in (*SECRETS, *ENGINES)), *map(Path, SYSTEM_ENGINES)]
    real = (path.resolve() for path in paths if os.path.exists(path))
    hidden = [path for path in real if not workspace.is_relative_to(path)]
    yield from hidden
    yield from sockets_below(home, {*hidden, workspace})


def sockets_below(home: Path, left_out: set[Path]) -> Iterator[Path]:
    """Yield sockets of the two uppermost levels below ``home``, as many as can be found in SCAN_SECONDS."""
    deadline = time.monotonic() + SCAN_SECONDS
    folders = [home.resolve()]
    for level in (1, 2):
        below: list[Path] = []
        for folder in folders:
            if time.monotonic() > deadline:
                return
            for entry in _entries(folder):
                if entry.is_dir(follow_symlinks=False):
                    below.append(Path(entry.path))
                elif _is_socket(entry):
                    yield Path(entry.path)
        folders = [path for path in below if path not in left_out] if level == 1 else []


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []


def _is_socket(entry: os.DirEntry[str]) -> bool:
    # The folder's listing tells files and links already: only what is rare is looked at.
    if entry.is_file(follow_symlinks=False) or entry.is_symlink():
        return False
    return Path(entry.path).is_socket()
