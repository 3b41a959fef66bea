"""What the commands of a session must not even read: secrets of the user, and sockets of daemons."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

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
# A bound for homes that nobody works in like this; so many take a few tenths of a second to look at.
MAX_ENTRIES = 200_000


class Hidden(NamedTuple):
    paths: set[Path]
    sockets: list[Path]
    """Those of the paths that come and go with daemons."""
    complete: bool
    """Whether the home folder was small enough to be searched for sockets to its end."""


def hidden_paths(home: Path, workspace: Path, more: Iterable[Path] = ()) -> Hidden:
    """Return what to hide that exists, links resolved; folders that the user works in were meant and are left out.

    ``more`` is what to hide besides what everybody has.
    """
    paths = [*(home / name for name in (*SECRETS, *ENGINES)), *map(Path, SYSTEM_ENGINES), *more]
    real = (path.resolve() for path in paths if os.path.exists(path))
    hidden = {path for path in real if not workspace.is_relative_to(path)}
    sockets, complete = sockets_below(home, {*hidden, workspace})
    return Hidden({*hidden, *sockets}, sockets, complete)


def sockets_below(home: Path, left_out: set[Path]) -> tuple[list[Path], bool]:
    """Return the sockets of the two uppermost levels below ``home``, and whether all that is there was looked at."""
    entries = _two_levels(home.resolve(), left_out)
    sockets = [Path(entry.path) for entry in islice(entries, MAX_ENTRIES) if _is_socket(entry)]
    return sockets, next(entries, None) is None


def _two_levels(home: Path, left_out: set[Path]) -> Iterator[os.DirEntry[str]]:
    folders = []
    for entry in _entries(home):
        yield entry
        if entry.is_dir(follow_symlinks=False):
            folders.append(Path(entry.path))
    for folder in folders:
        if folder not in left_out:
            yield from _entries(folder)


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError:
        return


def _is_socket(entry: os.DirEntry[str]) -> bool:
    # The folder's listing tells files, folders and links already: only what is rare is looked at.
    if entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False) or entry.is_symlink():
        return False
    return Path(entry.path).is_socket()
