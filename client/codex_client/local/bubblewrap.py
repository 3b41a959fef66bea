"""The command line of bubblewrap for a session: what its commands see, may write and may reach.

Everything is readable except secrets; only the workspace and a private /tmp are writable; there is no network, and no
socket of the system to talk through.

What is covered stays covered, whatever commands left in the workspace: nothing chosen by them is mounted in a covered
folder, covers come after everything else, and folders on the way to one cannot be renamed. Only our own socket follows.
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
# Parts of such a folder that hold programs and name servers on some systems; a socket is beside the latter.
RUN_PARTS = (
    "/run/current-system", "/run/booted-system", "/run/opengl-driver",
    "/run/systemd/resolve/resolv.conf", "/run/systemd/resolve/stub-resolv.conf",
)  # fmt: skip
# What the kernel shows there is of the whole machine: it is mounted anew.
KERNEL_FOLDERS = ("/dev", "/proc")
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

    ``hidden`` are real paths that exist and are not around the workspace. ``shared_folders`` hold sockets of sessions,
    of which only those in ``socket_folder`` are ours; commands can write there. ``empty_file`` lies where they cannot.
    ``tools`` are folders that the supervisor itself needs.
    """
    covered = _outermost([*hidden, *shared_folders])
    emptied = [Path(folder) for folder in (*PRIVATE_FOLDERS, *SOCKET_FOLDERS) if _is_real_folder(folder)]
    emptied = [folder for folder in emptied if folder != workspace]
    argv = [program, "--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"]
    argv += ["--unshare-cgroup-try", "--new-session", "--die-with-parent", "--cap-drop", "ALL"]
    shown = [
        *_system_mounts(workspace, emptied, tools),
        *_workspace_mounts(mode, workspace, [*covered, *emptied, *map(Path, KERNEL_FOLDERS)]),
    ]
    # Whatever lies within a folder is mounted over it, also where that folder is the workspace.
    shown.sort(key=lambda mount: mount[0].parts)
    for _, arguments in [*shown, *_covers(covered, empty_file), _mount("--bind", socket_folder)]:
        argv += arguments
    return [*argv, "--chdir", str(workspace), "--"]


def _mount(option: str, path: Path) -> Mount:
    return path, [option, str(path), str(path)]


def _system_mounts(workspace: Path, emptied: list[Path], tools: Iterable[Path]) -> list[Mount]:
    controls = [f"/proc/{name}" for name in KERNEL_CONTROLS]
    if workspace == Path("/"):
        controls.append("/sys")
    return [
        _mount("--ro-bind", Path("/")),
        *((Path(folder), [f"--{folder[1:]}", folder]) for folder in KERNEL_FOLDERS),
        *(_mount("--ro-bind", Path(control)) for control in controls if os.path.exists(control)),
        *((folder, ["--tmpfs", str(folder)]) for folder in emptied),
        *(_mount("--ro-bind-try", Path(part)) for part in RUN_PARTS),
        *(_mount("--ro-bind", tool) for folder in emptied for tool in _lost_in(folder, workspace, tools)),
    ]


def _workspace_mounts(mode: SandboxMode, workspace: Path, not_shown: list[Path]) -> list[Mount]:
    """Mount the workspace; whatever of it is in ``not_shown`` is left alone here."""
    if mode is SandboxMode.READ_ONLY:
        return [_mount("--ro-bind", workspace)]
    within = [path for path in not_shown if path.is_relative_to(workspace)]
    # Commands choose some of them, by a link or a .git file.
    protected = [path for path in protected_paths(workspace) if not _lies_in(path, within)]
    # What is a mount itself cannot be renamed: under another name nobody would know what to cover or to protect.
    fixed = {parent for path in (*within, *protected) for parent in path.parents if parent.is_relative_to(workspace)}
    fixed = {path for path in fixed - {workspace} if not _lies_in(path, [*within, *protected])}
    return [
        _mount("--bind", workspace),
        *(_mount("--bind", path) for path in fixed),
        *(_mount("--ro-bind", path) for path in protected),
    ]


def _covers(paths: Iterable[Path], empty_file: Path) -> list[Mount]:
    """Cover paths with nothing.

    A file is covered by an empty one: a device node there could not even be opened, which programs take for an error.
    """
    return [
        (path, ["--tmpfs", str(path)] if path.is_dir() else ["--ro-bind", str(empty_file), str(path)]) for path in paths
    ]


def _outermost(paths: Iterable[Path]) -> list[Path]:
    """Leave out what lies within another of the paths."""
    chosen: list[Path] = []
    for path in sorted(set(paths)):
        if not _lies_in(path, chosen):
            chosen.append(path)
    return chosen


def _lies_in(path: Path, folders: Iterable[Path]) -> bool:
    """Tell whether it is one of them or lies within one."""
    return any(path.is_relative_to(folder) for folder in folders)


def _lost_in(folder: Path, workspace: Path, tools: Iterable[Path]) -> list[Path]:
    """Return the tools that an emptied folder hides; what is in a workspace in that folder comes with it."""
    brought = workspace if workspace.is_relative_to(folder) else None
    within = {tool for tool in tools if tool.is_relative_to(folder)}
    return [tool for tool in sorted(within) if brought is None or not tool.is_relative_to(brought)]


def _is_real_folder(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)
