"""The commands of any script, however deep, with their words as far as they can be read without running it.

For judgements that rather ask once too often; what must be certain is judged by ``shell_syntax``.
"""

from __future__ import annotations

import math
import posixpath
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from tree_sitter import Node

from codex_worker.tools.shell_syntax import (
    NotPlain,
    TooCostly,
    decode_ansi_c,
    decode_word,
    node_text,
    parse_tree,
    require_time,
)

MAX_DEPTH = 8  # scripts within scripts
MAX_BYTES = 256 * 1024  # of all scripts together: words that nest would be read again and again

_SHELLS = frozenset({"sh", "bash", "zsh", "dash", "ash", "ksh", "fish"})
_TAKES_A_SCRIPT = _SHELLS | {"eval", "trap", "su", "watch"}
_READS_A_SCRIPT = _SHELLS | {"su"}
_PRINTS = frozenset({"echo", "printf", "yes"})
_SOURCES = re.compile(r"(?:(?:builtin|command) )?(?:source|\.) ")
_NO_WORD = frozenset({"variable_assignment", "file_redirect", "herestring_redirect"})
# A word without any of these could only be a command without operands.
_SYNTAX = re.compile(r"[ \t\n;&|<>()`{}]")
_GLUED_SCRIPT = re.compile(r"-[a-z]*?c(.+)", re.DOTALL)
_ANSI_C = re.compile(r"\$'((?:[^'\\]|\\.)*)'", re.DOTALL)
_SPLIT_STRING = re.compile(r"(?:-[a-zA-Z]*?S|--s[a-z-]*=?)(.*)", re.DOTALL)


@dataclass(frozen=True)
class SeenCommand:
    words: tuple[str, ...]
    """The command's name first; a word that would be expanded stands as it was written."""
    writes_to: str | None = None
    """Target of a redirection; such an entry has no words."""


def seen_commands(script: str, ends: float = math.inf) -> Iterator[SeenCommand]:
    """Yield the commands and redirections of a script in its order, then those of the scripts it gives to others.

    ``ends`` is when judging has to end, in this thread's processor time. Raises TooCostly, also where scripts nest
    deeper than anybody looks.
    """
    pending = [(script, 0)]
    met = {script}
    size = 0
    while pending:
        text, depth = pending.pop()
        size += len(text)
        if size > MAX_BYTES or depth > MAX_DEPTH:
            raise TooCostly("too much of scripts within scripts")
        given: list[str] = []
        fed: list[str] = []
        reads = False
        for found in _parts(text, ends):
            if isinstance(found, str):
                fed.append(found)
                continue
            yield found
            given += _scripts(found.words)
            fed += _printed(found.words)
            reads = reads or _reads_a_script(found.words)
        # Which of the texts goes to which of the commands is not looked at.
        inner = [word for word in dict.fromkeys([*given, *(fed if reads else ())]) if word not in met]
        met.update(inner)
        pending += [(word, depth + 1) for word in inner]


def program(word: str) -> str:
    """Return a command's name without its folder."""
    return posixpath.basename(word)


def _scripts(words: tuple[str, ...]) -> list[str]:
    """Return what the command would run as a script, or might."""
    split, env = "", False
    for position, word in enumerate(words):
        name = program(word)
        if name == "eval":
            return [" ".join(words[position + 1 :])]
        if name == "env" and not env:
            env = True
            split = _split_string(words[position + 1 :])
        if name in _TAKES_A_SCRIPT:
            following = words[position + 1 :]
            glued = [match[1] for inner in following if (match := _GLUED_SCRIPT.fullmatch(inner))]
            return [inner for inner in (split, *following, *glued) if _SYNTAX.search(inner)]
    return [split] if split else []


def _reads_a_script(words: tuple[str, ...]) -> bool:
    """Tell whether the command may run what it is fed."""
    # A name that is expanded may become a shell.
    if words and (words[0].startswith("$") or _SOURCES.match(" ".join(words[:3]))):
        return True
    return any(program(word) in _READS_A_SCRIPT for word in words)


def _printed(words: tuple[str, ...]) -> list[str]:
    """Return what the command prints, if it is one that prints its words."""
    printing = next((at for at, word in enumerate(words) if program(word) in _PRINTS), len(words))
    return [word for word in words[printing + 1 :] if _SYNTAX.search(word)]


def _split_string(arguments: tuple[str, ...]) -> str:
    """Return the command line that ``env -S`` makes of its arguments; empty without that option."""
    for position, word in enumerate(arguments):
        if match := _SPLIT_STRING.fullmatch(word):
            text, *rest = (match[1], *arguments[position + 1 :]) if match[1] else arguments[position + 1 :] or ("",)
            return f"{text} {shlex.join(rest)}"
    return ""


def _parts(script: str, ends: float) -> Iterator[SeenCommand | str]:
    """Yield the script's commands and redirections, and as plain text what it feeds to any of them."""
    source = script.encode(errors="replace")
    pending = [parse_tree(source, ends)]
    while pending:
        require_time(ends)
        node = pending.pop()
        children = node.children
        pending.extend(reversed(children))
        if node.type == "command":
            words = [_word(source, child) for child in children if child.is_named and child.type not in _NO_WORD]
            yield SeenCommand(tuple(words))
        elif node.type == "heredoc_body":
            yield node_text(source, node)
        elif node.type == "herestring_redirect" and children:
            yield _word(source, children[-1])
        elif node.type == "file_redirect" and (target := node.child_by_field_name("destination")) is not None:
            word = _word(source, target)
            # The grammar takes `3<<< text` for reading a file.
            yield SeenCommand((), word) if any(">" in child.type for child in children) else word


def _word(source: bytes, node: Node) -> str:
    text = node_text(source, node)
    try:
        return decode_word(_ANSI_C.sub(lambda match: shlex.quote(decode_ansi_c(match[1])), text))
    except NotPlain:
        return text.strip("\"'")
