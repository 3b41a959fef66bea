"""The commands of any script, however deep, with their words as far as they can be read without running it.

For judgements that rather ask once too often; what must be certain is judged by ``shell_syntax``.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass

from tree_sitter import Node

from codex_worker.tools.shell_syntax import NotPlain, TooCostly, decode_word, node_text, parse_tree

MAX_DEPTH = 8  # scripts within scripts
MAX_BYTES = 256 * 1024  # of all scripts together: words that nest would be read again and again

_TAKES_A_SCRIPT = frozenset({"sh", "bash", "zsh", "dash", "ksh", "eval", "trap"})


@dataclass(frozen=True)
class SeenCommand:
    words: tuple[str, ...]
    """The command's name first; a word that would be expanded stands as it was written."""
    writes_to: str | None = None
    """Target of a redirection; such an entry has no words."""


def seen_commands(script: str) -> Iterator[SeenCommand]:
    """Yield the commands and redirections of a script and of the scripts it gives to shells, ``eval`` and ``trap``.

    Raises TooCostly.
    """
    pending = [(script, 0)]
    met = {script}
    size = 0
    while pending:
        text, depth = pending.pop()
        size += len(text)
        if size > MAX_BYTES:
            raise TooCostly(f"more than {MAX_BYTES} bytes of scripts within scripts")
        for command in _commands(text):
            yield command
            inner = [] if depth == MAX_DEPTH else [word for word in _scripts(command.words) if word not in met]
            met.update(inner)
            pending += [(word, depth + 1) for word in inner]


def program(word: str) -> str:
    """Return a command's name without its folder."""
    return posixpath.basename(word)


def _scripts(words: tuple[str, ...]) -> list[str]:
    for position, word in enumerate(words):
        if program(word) in _TAKES_A_SCRIPT:
            return [inner for inner in words[position + 1 :] if any(blank in inner for blank in " \t\n")]
    return []


def _commands(script: str) -> Iterator[SeenCommand]:
    source = script.encode(errors="replace")
    pending = [parse_tree(source)]
    while pending:
        node = pending.pop()
        pending.extend(reversed(node.children))
        if node.type == "command":
            words = [
                _word(source, child)
                for child in node.children
                if child.is_named and child.type != "variable_assignment"
            ]
            yield SeenCommand(tuple(words))
        elif node.type == "file_redirect" and any(">" in child.type for child in node.children):
            target = node.child_by_field_name("destination")
            if target is not None:
                yield SeenCommand((), _word(source, target))


def _word(source: bytes, node: Node) -> str:
    text = node_text(source, node)
    try:
        return decode_word(text)
    except NotPlain:
        return text.strip("\"'")
