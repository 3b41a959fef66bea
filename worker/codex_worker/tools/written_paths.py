"""Which paths a plain command writes to, as far as its words tell; in doubt one too many. Pure."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from itertools import islice, takewhile

from codex_worker.tools.seen_commands import program

MAX_CANDIDATES = 8
_ALL_OPERANDS = frozenset({"touch", "mkdir", "rmdir", "rm", "mv", "ln", "tee", "truncate", "chmod", "chown"})
_LAST_OPERAND = frozenset({"cp", "install", "rsync"})
_INTO_TARGET = frozenset({"cp", "mv", "ln", "install"})
_IN_PLACE = frozenset({"sed", "perl"})
_WRITERS = _ALL_OPERANDS | _LAST_OPERAND | _IN_PLACE | {"dd", "git", "cd", "pushd"}
# These run the command that their operands are.
_WRAPPERS = frozenset({
    "builtin", "busybox", "chroot", "command", "doas", "env", "exec", "find", "flock", "ionice", "nice", "nohup",
    "setsid", "stdbuf", "sudo", "time", "timeout", "unshare", "xargs",
})  # fmt: skip
_SHORT_TARGET = re.compile(r"-[A-Za-z]*?t(.*)", re.DOTALL)
_LONG_TARGET = re.compile(r"--t[a-z-]*(?:=(.*))?", re.DOTALL)
_EDITS_IN_PLACE = re.compile(r"-[A-Za-z0-9]*i|--in-p")
_CREATES_FOLDERS = re.compile(r"-[A-Za-z]*d|--d")
_GIT_VALUES = frozenset({"-C", "-c", "--git-dir", "--work-tree", "--namespace", "--exec-path"})
_GIT_CONFIG_READS = frozenset({
    "--get", "--get-all", "--get-regexp", "--get-urlmatch", "--get-color", "--get-colorbool", "--list", "-l",
})  # fmt: skip
_GIT_CONFIG_READING = frozenset({"get", "list"})
_GIT_CONFIG_WRITING = frozenset({"set", "unset", "rename-section", "remove-section", "edit"})
_GIT_CONFIG_CHANGES = frozenset({"--edit", "-e"})


def goes_to(words: Sequence[str]) -> str | None:
    """Return the directory that the rest of a script then runs in; None for a command that stays where it is."""
    gone = (_operands(inner) for inner in _unwrapped(words) if inner[0] in ("cd", "pushd"))
    return next((operands[0] for operands in gone if operands), None)


def written_paths(words: Sequence[str]) -> list[str]:
    """Return the operands that a command writes to; ``.git/config`` for ``git config``."""
    return [path for inner in _unwrapped(words) for path in _written(inner)]


def _unwrapped(words: Sequence[str]) -> list[Sequence[str]]:
    """Return the command, or what may be the command behind ``sudo``, ``env``, ``find -exec`` and the like."""
    if not words or program(words[0]) not in _WRAPPERS:
        return [words] if words else []
    if program(words[0]) == "find":
        words = [word for word in words if word not in (";", "+")]  # the ends of -exec
    found = (at for at, word in enumerate(words) if at and program(word) in _WRITERS)
    return [words, *(words[at:] for at in islice(found, MAX_CANDIDATES))]


def _written(words: Sequence[str]) -> list[str]:
    name, operands = program(words[0]), _operands(words)
    if name == "git":
        return [".git/config"] if _changes_git_config(words[1:]) else []
    if name == "dd":
        return [word.removeprefix("of=") for word in words[1:] if word.startswith("of=")]
    if name == "find":
        return list(takewhile(lambda word: not word.startswith("-"), words[1:])) if "-delete" in words else []
    targets = _targets(words[1:]) if name in _INTO_TARGET else []
    if name in _ALL_OPERANDS or (name == "install" and any(_CREATES_FOLDERS.match(word) for word in words)):
        return [*operands, *targets]
    if name in _LAST_OPERAND:
        return [*targets, *_copied(operands)]
    if name in _IN_PLACE and any(_EDITS_IN_PLACE.match(word) for word in words[1:]):
        return operands
    return []


def _operands(words: Sequence[str]) -> list[str]:
    return [word for word in words[1:] if not word.startswith("-")]


def _copied(operands: Sequence[str]) -> list[str]:
    """Return the last operand, and the files it then holds where it plainly is a folder."""
    if not operands:
        return []
    *sources, last = operands
    if posixpath.basename(last) not in ("", ".", ".."):
        return [last]
    return [last, *(posixpath.join(last, posixpath.basename(source)) for source in sources)]


def _targets(arguments: Sequence[str]) -> list[str]:
    """Return the values of ``-t`` and ``--target-directory``, however they are written."""
    found: list[str] = []
    for position, word in enumerate(arguments):
        if match := _SHORT_TARGET.fullmatch(word) or _LONG_TARGET.fullmatch(word):
            found += [match[1]] if match[1] else arguments[position + 1 : position + 2]
    return found


def _changes_git_config(arguments: Sequence[str]) -> bool:
    position = 0
    while position < len(arguments) and arguments[position].startswith("-"):
        position += 2 if arguments[position] in _GIT_VALUES else 1
    if position >= len(arguments) or arguments[position] != "config":
        return False
    rest = arguments[position + 1 :]
    operands = [word for word in rest if not word.startswith("-")]
    if _GIT_CONFIG_READS.intersection(rest) or (operands and operands[0] in _GIT_CONFIG_READING):
        return False
    changes = any(word in _GIT_CONFIG_CHANGES or word.startswith(("--unset", "--re")) for word in rest)
    return changes or len(operands) > 1 or bool(operands and operands[0] in _GIT_CONFIG_WRITING)
