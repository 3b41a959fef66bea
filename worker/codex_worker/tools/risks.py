"""What asks a person under the policy OnRequest, where the sandbox is the boundary. Pure.

Files named by a dot steer programs (git, editors, shells, CI), so that a write to them can act later and elsewhere.
"""

from __future__ import annotations

import posixpath
import re

from codex_worker.tools.seen_commands import SeenCommand, program, seen_commands
from codex_worker.tools.shell_syntax import TooCostly

_SHORT_FORCE = re.compile(r"-[A-Za-z]*f")
_WRITE_ALL_OPERANDS = frozenset({
    "touch", "mkdir", "rmdir", "rm", "mv", "ln", "tee", "truncate", "chmod", "chown",
})  # fmt: skip
_WRITE_LAST_OPERAND = frozenset({"cp", "install", "rsync"})


def asks_on_request(script: str, directory: str, workspace: str) -> bool:
    """Tell whether a script holds a forced delete, or plainly writes to ``.git`` or a dotfile.

    Args are the absolute directory the script starts in, and the session's workspace.
    """
    try:
        return any(_is_risky(command, directory, workspace) for command in seen_commands(script))
    except TooCostly:
        return True


def _is_risky(command: SeenCommand, directory: str, workspace: str) -> bool:
    written = (command.writes_to,) if command.writes_to is not None else _written_by(command.words)
    return deletes_by_force(command.words) or any(names_dotfile(path, directory, workspace) for path in written)


def deletes_by_force(words: tuple[str, ...]) -> bool:
    """Tell whether a command is ``rm -f``, also behind sudo, env, xargs, find -exec and the like."""
    if not words or program(words[0]) == "git":
        return False  # what git rm removes stands in the repository
    for position, word in enumerate(words):
        if program(word) == "rm":
            options = words[position + 1 :]
            options = options[: options.index("--")] if "--" in options else options
            return any(_is_force(option) for option in options)
    return False


def outside(path: str, directory: str, workspace: str) -> bool:
    """Tell whether a path, as written, lies outside the workspace; links in the sandbox cannot be seen from here."""
    return _components(path, directory, workspace) is None


def names_dotfile(path: str, directory: str, workspace: str) -> bool:
    """Tell whether a path is, or lies below, something whose name begins with a dot, ``.git`` included."""
    components = _components(path, directory, workspace)
    if components is None:
        components = _absolute(path, directory).split("/")
    return any(component.startswith(".") for component in components)


def _is_force(word: str) -> bool:
    return bool(_SHORT_FORCE.match(word)) or (len(word) > 2 and "--force".startswith(word))


def _written_by(words: tuple[str, ...]) -> tuple[str, ...]:
    """Return the operands that a plain command writes to."""
    if not words:
        return ()
    name = program(words[0])
    operands = tuple(word for word in words[1:] if not word.startswith("-"))
    if name in _WRITE_ALL_OPERANDS:
        return operands
    if name in _WRITE_LAST_OPERAND:
        return operands[-1:]
    if name == "sed" and any(word.startswith(("-i", "--in-place")) for word in words[1:]):
        return operands
    return ()


def _absolute(path: str, directory: str) -> str:
    return posixpath.normpath(posixpath.join(directory, path))


def _components(path: str, directory: str, workspace: str) -> list[str] | None:
    """Return the parts of a path below the workspace; None where it lies outside."""
    relative = posixpath.relpath(_absolute(path, directory), posixpath.normpath(workspace))
    if relative == ".":
        return []
    parts = relative.split("/")
    return None if parts[0] == ".." else parts
