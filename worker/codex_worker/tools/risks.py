"""What asks a person under the policy OnRequest, where the sandbox is the boundary. Pure.

Files named by a dot steer programs (git, editors, shells, CI), so that a write to them can act later and elsewhere.
"""

from __future__ import annotations

import math
import posixpath
import re

from codex_worker.tools.seen_commands import SeenCommand, program, seen_commands
from codex_worker.tools.shell_syntax import TooCostly, require_time
from codex_worker.tools.written_paths import goes_to, written_paths

_SHORT_FORCE = re.compile(r"-[A-Za-z]*f")
MAX_DIRECTORIES = 64


def asks_on_request(script: str, directory: str, workspace: str, ends: float = math.inf) -> bool:
    """Tell whether a script holds a forced delete, or plainly writes to ``.git`` or a dotfile.

    Args are the absolute directory the script starts in, the session's workspace, and when judging has to end, in
    this thread's processor time. What is too costly to judge asks.
    """
    # Any of these may be where a command runs: a branch or a subshell may not have gone where the script goes.
    directories = [directory]
    try:
        for command in seen_commands(script, ends):
            if _is_risky(command, directories, workspace, ends):
                return True
            if (target := goes_to(command.words)) is not None:
                directories.append(_absolute(target, directories[-1]))
            if len(directories) > MAX_DIRECTORIES:
                return True
    except TooCostly:
        return True
    return False


def _is_risky(command: SeenCommand, directories: list[str], workspace: str, ends: float) -> bool:
    if deletes_by_force(command.words):
        return True
    written = written_paths(command.words) if command.writes_to is None else [command.writes_to]
    for path in written:
        require_time(ends)
        if any(names_dotfile(path, directory, workspace) for directory in directories):
            return True
    return False


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
    if word.startswith("-") and re.search("[{$`]", word):
        return True  # what it becomes cannot be read
    return bool(_SHORT_FORCE.match(word)) or (len(word) > 2 and "--force".startswith(word))


def _absolute(path: str, directory: str) -> str:
    return posixpath.normpath(posixpath.join(directory, path))


def _components(path: str, directory: str, workspace: str) -> list[str] | None:
    """Return the parts of a path below the workspace; None where it lies outside."""
    relative = posixpath.relpath(_absolute(path, directory), posixpath.normpath(workspace))
    if relative == ".":
        return []
    parts = relative.split("/")
    return None if parts[0] == ".." else parts
