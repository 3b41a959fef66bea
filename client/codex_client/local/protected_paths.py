"""What a session may read in its workspace but not change: what is run later, outside the sandbox."""

from __future__ import annotations

from pathlib import Path

# As upstream: hooks, configuration and instructions.
PROTECTED = (".git", ".codex", ".agents")
_GITDIR = "gitdir:"
_MAX_GITDIR_BYTES = 8192


def protected_paths(workspace: Path) -> list[Path]:
    """Return what exists of it with links resolved, and where a ``.git`` file says the repository is.

    A link itself cannot be kept from being replaced, and a folder that does not exist yet can be made: a mount there
    would leave an empty folder in the workspace.
    """
    workspace = workspace.resolve()
    found: list[Path] = []
    for name in PROTECTED:
        path = workspace / name
        if path.exists():
            found.append(path.resolve())
        if path.is_file() and (repository := _repository_of(path)) is not None:
            found.append(repository)
    # What lies outside is read-only as everything is; the workspace itself was meant to be written.
    return [path for path in found if path.is_relative_to(workspace) and path != workspace]


def _repository_of(git_file: Path) -> Path | None:
    """Return the folder that the ``.git`` file of a worktree or a submodule names."""
    try:
        with git_file.open("rb") as content:
            text = content.read(_MAX_GITDIR_BYTES).decode(errors="surrogateescape")
    except OSError:
        return None
    if not text.startswith(_GITDIR):
        return None
    repository = (git_file.parent / text.removeprefix(_GITDIR).strip()).resolve()
    return repository if repository.exists() else None
