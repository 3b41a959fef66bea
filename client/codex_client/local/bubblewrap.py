"""The command line of bubblewrap for a session: what its commands see, may write and may reach.

Everything is readable except secrets; only the workspace and a private /tmp are writable; there is no network, and no
socket of the system to talk through.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from codex_api.rows import SandboxMode
from codex_client.local.hidden_paths import hidden_paths
from codex_client.local.protected_paths import protected_paths

PRIVATE_FOLDERS = ("/tmp", "/var/tmp")  # noqa: S108 - emptied for the sandbox, not used by us
# Sockets of daemons live there: one of them, Docker's, would be a way out.
SOCKET_FOLDERS = ("/run", "/var/run")
# Parts of such a folder that hold programs and name servers on some systems.
RUN_PARTS = ("/run/current-system", "/run/booted-system", "/run/opengl-driver", "/run/systemd/resolve")
# Root may write there in a user namespace too: it owns the files. A program in core_pattern runs outside.
KERNEL_CONTROLS = ("sys", "sysrq-trigger", "irq", "bus", "fs", "acpi", "scsi", "mtrr", "pressure")


def bubblewrap_arguments(
    program: str,
    mode: SandboxMode,
    workspace: Path,
    *,
    home: Path,
    hidden: Iterable[Path],
    socket_folder: Path,
    empty_file: Path,
    tools: Iterable[Path],
) -> list[str]:
    """Return the command line up to the command.

    ``hidden`` are more paths to hide than everybody has, ``tools`` folders that the supervisor itself needs.
    Later mounts lie over earlier ones: first all read-only, then what is hidden, then what must be seen nevertheless.
    """
    argv = [program, "--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"]
    argv += ["--unshare-cgroup-try", "--new-session", "--die-with-parent", "--cap-drop", "ALL"]
    argv += ["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
    for control in (f"/proc/{name}" for name in KERNEL_CONTROLS):
        if os.path.exists(control):
            argv += ["--ro-bind", control, control]
    # The sockets of other sessions are beside ours.
    private = dict.fromkeys((*PRIVATE_FOLDERS, *SOCKET_FOLDERS, str(socket_folder.parent)))
    empty = [folder for folder in private if _is_real_folder(folder)]
    for folder in empty:
        argv += ["--tmpfs", folder]
    for part in RUN_PARTS:
        argv += ["--ro-bind-try", part, part]
    for tool in _below(tools, empty):
        argv += ["--ro-bind", str(tool), str(tool)]
    argv += _workspace_mounts(mode, workspace)
    argv += _hidden({*hidden_paths(home, workspace), *_existing(hidden, workspace)}, empty_file)
    argv += ["--bind", str(socket_folder), str(socket_folder), "--chdir", str(workspace), "--"]
    return argv


def _workspace_mounts(mode: SandboxMode, workspace: Path) -> list[str]:
    if mode is SandboxMode.READ_ONLY:
        return ["--ro-bind", str(workspace), str(workspace)]
    mounts = ["--bind", str(workspace), str(workspace)]
    for path in protected_paths(workspace):
        mounts += ["--ro-bind", str(path), str(path)]
    return mounts


def _existing(paths: Iterable[Path], workspace: Path) -> Iterable[Path]:
    return (path.resolve() for path in paths if os.path.exists(path) and not workspace.is_relative_to(path.resolve()))


def _hidden(paths: Iterable[Path], empty_file: Path) -> list[str]:
    """Cover paths, outermost first.

    A file is covered by an empty one: a device node there could not even be opened, which programs take for an error.
    """
    arguments: list[str] = []
    for path in _outermost(paths):
        arguments += ["--tmpfs", str(path)] if path.is_dir() else ["--ro-bind", str(empty_file), str(path)]
    return arguments


def _outermost(paths: Iterable[Path]) -> list[Path]:
    """Leave out what lies within another of the paths."""
    chosen: list[Path] = []
    for path in sorted(set(paths)):
        if not any(path.is_relative_to(outer) for outer in chosen):
            chosen.append(path)
    return chosen


def _below(paths: Iterable[Path], folders: Sequence[str]) -> list[Path]:
    """Return those of the paths that the folders hide, outermost first."""
    return sorted({path for path in paths if any(path.is_relative_to(folder) for folder in folders)})


def _is_real_folder(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)
