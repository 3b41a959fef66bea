"""Commands that only read, and therefore run without asking under the policy Untrusted.

The list is the one the Codex CLI ships, narrowed where a command of it can write or run something. It is judged on
parsed words. A word that begins with a dash counts as an option wherever it stands, also behind ``--``: what a rule
cannot tell for certain is asked.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

from codex_worker.tools.shell_syntax import NotPlain, PlainCommand, parse_plain_commands, render

# The only shells whose syntax is the parsed one.
KNOWN_SHELLS = frozenset(f"{folder}{name}" for folder in ("", "/bin/", "/usr/bin/") for name in ("bash", "sh"))
SAFE_SHELL = ("bash", "--noprofile", "--norc", "-c")

# These neither write nor run anything, whatever their options are.
_ALWAYS = frozenset({
    "cat", "cut", "echo", "expr", "false", "grep", "head", "id", "ls", "nl", "numfmt", "paste", "pwd", "rev", "seq",
    "stat", "tac", "tail", "tr", "true", "uname", "wc", "which", "whoami",
})  # fmt: skip
# Not a program: only a shell has it.
_BUILTIN_ONLY = frozenset({"cd"})

_SED_PRINT = re.compile(r"(\d+,)?\d+p", re.ASCII)
_GIT_READING = frozenset({"status", "log", "diff", "show", "branch"})
_GIT_WITH_DIFFS = frozenset({"log", "diff", "show"})
_GIT_UNSAFE = (
    *("--output", "--ext-diff", "--textconv", "--exec", "--show-signature"),
    *("--remerge-diff", "--diff-merges"),  # would run merge drivers
)
_GIT_BRANCH_FLAGS = frozenset({
    "-a", "--all", "-r", "--remotes", "-v", "-vv", "--verbose", "--list", "--show-current", "--merged", "--no-merged",
    "--no-color", "--ignore-case",
})  # fmt: skip
_GIT_BRANCH_VALUES = ("--format=", "--sort=", "--contains=", "--no-contains=", "--merged=", "--no-merged=")


class NotKnownSafe(Exception):
    """Somebody has to be asked; the message says what made it so."""


def safe_argv(script: str, shell: str | None = None, ends: float = math.inf) -> list[str]:
    """Return how the script runs without asking: the command itself, or a shell where several are joined.

    ``ends`` is when judging has to end, in this thread's processor time. Raises NotKnownSafe.
    """
    if shell is not None and shell not in KNOWN_SHELLS:
        raise NotKnownSafe("another shell is named")
    try:
        commands = parse_plain_commands(script, ends)
    except NotPlain as error:
        raise NotKnownSafe(f"the script holds {error}") from error
    hardened = [PlainCommand(_judged(command.words), command.operator) for command in commands]
    if len(hardened) == 1 and hardened[0].words[0] not in _BUILTIN_ONLY:
        return list(hardened[0].words)
    return [*SAFE_SHELL, render(hardened)]


def _judged(words: tuple[str, ...]) -> tuple[str, ...]:
    """Return the words to run, with the switches that keep a repository's own settings from running programs."""
    name, arguments = words[0], words[1:]
    if name in _ALWAYS:
        return words
    rule = _RULES.get(name)
    if rule is None:
        raise NotKnownSafe(f"{name} is not a known read-only command")
    return (name, *rule(arguments))


def _refuse(command: str, word: str) -> NotKnownSafe:
    return NotKnownSafe(f"{command} {word} is not known to only read")


def _names_option(word: str, options: Sequence[str]) -> bool:
    """Tell whether a word is one of the long options, perhaps abbreviated or with a value."""
    name = word.partition("=")[0]
    return len(name) > 2 and name.startswith("--") and any(option.startswith(name) for option in options)


def _has_short(word: str, letter: str) -> bool:
    """Tell whether a cluster of short options could hold the letter."""
    return word.startswith("-") and not word.startswith("--") and letter in word


def _cd(arguments: Sequence[str]) -> Sequence[str]:
    if len(arguments) > 1:
        raise _refuse("cd", arguments[1])
    return arguments


def _base64(arguments: Sequence[str]) -> Sequence[str]:
    for word in arguments:
        if _has_short(word, "o") or _names_option(word, ("--output",)):
            raise _refuse("base64", word)
    return arguments


def _find(arguments: Sequence[str]) -> Sequence[str]:
    for word in arguments:
        if word.startswith(("-exec", "-ok", "-fprint")) or word in ("-delete", "-fls"):
            raise _refuse("find", word)
    return arguments


def _ripgrep(arguments: Sequence[str]) -> Sequence[str]:
    for word in arguments:
        unsafe = _names_option(word, ("--pre", "--hostname-bin", "--search-zip"))
        if unsafe or word.startswith("--pre") or _has_short(word, "z"):
            raise _refuse("rg", word)
    # A configuration file could name a preprocessor.
    return ("--no-config", *arguments)


def _sed(arguments: Sequence[str]) -> Sequence[str]:
    """Only ``sed -n 5p [file]`` and ``sed -n 5,9p [file]``: further options could be another script, or ``-i``."""
    if not 2 <= len(arguments) <= 3 or arguments[0] != "-n" or not _SED_PRINT.fullmatch(arguments[1]):
        raise NotKnownSafe("sed is known to only read as sed -n 5,9p file")
    if len(arguments) == 3 and arguments[2].startswith("-"):
        raise _refuse("sed", arguments[2])
    return arguments


def _uniq(arguments: Sequence[str]) -> Sequence[str]:
    """A second operand is a file to write."""
    operands = [word for word in arguments if word == "-" or not word.startswith("-")]
    if len(operands) > 1 or "--" in arguments:
        raise NotKnownSafe("uniq with two operands writes to the second")
    return arguments


def _git(arguments: Sequence[str]) -> Sequence[str]:
    if arguments[:1] == ("--no-pager",):
        arguments = arguments[1:]
    if not arguments or arguments[0] not in _GIT_READING:
        raise _refuse("git", arguments[0] if arguments else "")
    subcommand, rest = arguments[0], arguments[1:]
    for word in rest:
        allowed = word in _GIT_BRANCH_FLAGS or word.startswith(_GIT_BRANCH_VALUES)
        if _names_option(word, _GIT_UNSAFE) or (subcommand == "branch" and not allowed):
            raise _refuse(f"git {subcommand}", word)
    # Attributes and settings of the repository could name programs for these.
    drivers = ("--no-ext-diff", "--no-textconv") if subcommand in _GIT_WITH_DIFFS else ()
    return ("--no-pager", subcommand, *drivers, *rest)


_RULES: dict[str, Callable[[Sequence[str]], Sequence[str]]] = {
    "cd": _cd,
    "base64": _base64,
    "find": _find,
    "rg": _ripgrep,
    "sed": _sed,
    "uniq": _uniq,
    "git": _git,
}
