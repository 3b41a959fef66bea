"""The command line of bubblewrap for a session: what its commands see, may write and may reach.

Everything is readable except secrets; only the workspace and a private /tmp are writable; there is no network, and no
socket of the system to talk through.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from codex_api.rows import SandboxMode

# What upstream protects too: a hook or a configuration that is run outside the sandbox later.
PROTECTED = (".git", ".codex", ".agents")
# Below the home folder; hidden where they exist.
SECRETS = (
    ".ssh", ".gnupg", ".aws", ".azure", ".kube", ".docker", ".codex", ".claude", ".terraform.d", ".password-store",
    ".config/gcloud", ".config/gh", ".config/op", ".config/containers", ".local/share/keyrings", ".mozilla",
    ".config/google-chrome", ".config/chromium", ".netrc", ".pypirc", ".npmrc", ".git-credentials", ".vault-token",
    ".pgpass", ".my.cnf", ".cargo/credentials", ".cargo/credentials.toml", ".gem/credentials",
    ".bash_history", ".zsh_history", ".python_history", ".psql_history",
)  # fmt: skip
PRIVATE_FOLDERS = ("/tmp", "/var/tmp")  # noqa: S108 - emptied for the sandbox, not used by us
# Sockets of daemons live there: one of them, Docker's, would be a way out.
SOCKET_FOLDERS = ("/run", "/var/run")
# Parts of such a folder that hold programs and name servers on some systems.
RUN_PARTS = ("/run/current-system", "/run/booted-system", "/run/opengl-driver", "/run/systemd/resolve")


def bubblewrap_arguments(
    program: str,
    mode: SandboxMode,
    workspace: Path,
    *,
    home: Path,
    state: Path,
    socket_folder: Path,
    empty_file: Path,
    tools: Iterable[Path],
) -> list[str]:
    """Return the command line up to the command; ``tools`` are folders that the supervisor itself needs.

    Later mounts lie over earlier ones: first all read-only, then what is hidden, then what must be seen nevertheless.
    """
    argv = [program, "--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--new-session"]
    argv += ["--die-with-parent", "--cap-drop", "ALL", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
    empty = [folder for folder in (*PRIVATE_FOLDERS, *SOCKET_FOLDERS) if _is_real_folder(folder)]
    for folder in empty:
        argv += ["--tmpfs", folder]
    for part in RUN_PARTS:
        argv += ["--ro-bind-try", part, part]
    for tool in _below(tools, empty):
        argv += ["--ro-bind", str(tool), str(tool)]
    argv += _workspace_mounts(mode, workspace)
    argv += _hidden(home, state, workspace, empty_file)
    argv += ["--bind", str(socket_folder), str(socket_folder), "--chdir", str(workspace), "--"]
    return argv


def _workspace_mounts(mode: SandboxMode, workspace: Path) -> list[str]:
    if mode is SandboxMode.READ_ONLY:
        return ["--ro-bind", str(workspace), str(workspace)]
    mounts = ["--bind", str(workspace), str(workspace)]
    for name in PROTECTED:
        path = workspace / name
        # A link would be followed to somewhere else, which is read-only anyway unless it is in the workspace.
        if path.exists() and not path.is_symlink():
            mounts += ["--ro-bind", str(path), str(path)]
    return mounts


def _hidden(home: Path, state: Path, workspace: Path, empty_file: Path) -> list[str]:
    """Cover secrets; where the user works inside such a folder, it was meant.

    A file is covered by an empty one: a device node there could not even be opened, which programs take for an error.
    """
    arguments: list[str] = []
    for path in (*(home / name for name in SECRETS), state):
        if not path.exists() or workspace.is_relative_to(real := path.resolve()):
            continue
        arguments += ["--tmpfs", str(real)] if real.is_dir() else ["--ro-bind", str(empty_file), str(real)]
    return arguments


def _below(paths: Iterable[Path], folders: Sequence[str]) -> list[Path]:
    """Return those of the paths that the folders hide, outermost first."""
    return sorted({path for path in paths if any(path.is_relative_to(folder) for folder in folders)})


def _is_real_folder(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)
