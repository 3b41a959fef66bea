"""The command line of bubblewrap for a session: what its commands see, may write and may reach.

Everything is readable except secrets; only the workspace and a private /tmp are writable; there is no network, and no
socket of the system to talk through.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from codex_api.rows import SandboxMode
from codex_client.local.protected_paths import protected_paths

PRIVATE_FOLDERS = ("/tmp", "/var/tmp")  # noqa: S108 - emptied for the sandbox, not used by us
# Sockets of daemons live there: one of them, Docker's, would be a way out.
SOCKET_FOLDERS = ("/run", "/var/run")
# Parts of such a folder that hold programs and name servers on some systems.
RUN_PARTS = ("/run/current-system", "/run/booted-system", "/run/opengl-driver", "/run/systemd/resolve")
# Root may write there in a user namespace too: it owns the files. A program in core_pattern runs outside.
KERNEL_CONTROLS = ("sys", "sysrq-trigger", "irq", "bus", "fs", "acpi", "scsi", "mtrr", "pressure")

Mount = tuple[Path, list[str]]
"""Where it is, and the arguments that make it."""


def bubblewrap_arguments(
    program: str,
    mode: SandboxMode,
    workspace: Path,
    *,
    hidden: Iterable[Path],
    shared_folders: Iterable[Path],
    socket_folder: Path,
    empty_file: Path,
    tools: Iterable[Path],
) -> list[str]:
    """Return the command line up to the command.

    ``hidden`` exist and are not around the workspace. ``shared_folders`` hold sockets of sessions, of which only those
    in ``socket_folder`` are ours. ``tools`` are folders that the supervisor itself needs.
    """
    argv = [program, "--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"]
    argv += ["--unshare-cgroup-try", "--new-session", "--die-with-parent", "--cap-drop", "ALL"]
    mounts = [
        *_system_mounts(workspace, tools),
        *_workspace_mounts(mode, workspace),
        *_covers(hidden, empty_file),
        *_covers(shared_folders, empty_file),
        _mount("--bind", socket_folder),
    ]
    # Whatever lies within a folder is mounted over it, also where that folder is the workspace.
    for _, arguments in sorted(mounts, key=lambda mount: mount[0].parts):
        argv += arguments
    return [*argv, "--chdir", str(workspace), "--"]


def _mount(option: str, path: Path) -> Mount:
    return path, [option, str(path), str(path)]


def _system_mounts(workspace: Path, tools: Iterable[Path]) -> list[Mount]:
    controls = [f"/proc/{name}" for name in KERNEL_CONTROLS]
    if workspace == Path("/"):
        controls.append("/sys")
    empty = [Path(folder) for folder in (*PRIVATE_FOLDERS, *SOCKET_FOLDERS) if _is_real_folder(folder)]
    empty = [folder for folder in empty if folder != workspace]
    return [
        _mount("--ro-bind", Path("/")),
        (Path("/dev"), ["--dev", "/dev"]),
        (Path("/proc"), ["--proc", "/proc"]),
        *(_mount("--ro-bind", Path(control)) for control in controls if os.path.exists(control)),
        *((folder, ["--tmpfs", str(folder)]) for folder in empty),
        *(_mount("--ro-bind-try", Path(part)) for part in RUN_PARTS),
        *(_mount("--ro-bind", tool) for folder in empty for tool in _lost_in(folder, workspace, tools)),
    ]


def _workspace_mounts(mode: SandboxMode, workspace: Path) -> list[Mount]:
    if mode is SandboxMode.READ_ONLY:
        return [_mount("--ro-bind", workspace)]
    protected = (_mount("--ro-bind", path) for path in protected_paths(workspace))
    return [_mount("--bind", workspace), *protected]


def _covers(paths: Iterable[Path], empty_file: Path) -> list[Mount]:
    """Cover paths with nothing.

    A file is covered by an empty one: a device node there could not even be opened, which programs take for an error.
    """
    return [
        (path, ["--tmpfs", str(path)] if path.is_dir() else ["--ro-bind", str(empty_file), str(path)])
        for path in _outermost(paths)
    ]


def _outermost(paths: Iterable[Path]) -> list[Path]:
    """Leave out what lies within another of the paths."""
    chosen: list[Path] = []
    for path in sorted(set(paths)):
        if not any(path.is_relative_to(outer) for outer in chosen):
            chosen.append(path)
    return chosen


def _lost_in(folder: Path, workspace: Path, tools: Iterable[Path]) -> list[Path]:
    """Return the tools that an emptied folder hides; what is in a workspace in that folder comes with it."""
    brought = workspace if workspace.is_relative_to(folder) else None
    within = {tool for tool in tools if tool.is_relative_to(folder)}
    return [tool for tool in sorted(within) if brought is None or not tool.is_relative_to(brought)]


def _is_real_folder(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)
