"""Shell scripts that hold nothing but plain commands, as the words a shell would pass.

Whatever is not certainly a plain word is refused. Callers run what was parsed here (``render``), never the source
text again, so a place where this parser and a shell would disagree cannot run anything that was not judged.
"""

from __future__ import annotations

import math
import re
import shlex
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import tree_sitter_bash
from tree_sitter import Language, Node, Parser

from codex_worker.tools.display import is_deceptive

# Longer scripts are never run unasked, and parsing must stay cheap whatever a model sends.
MAX_SCRIPT_BYTES = 4096
PARSE_SECONDS = 0.25  # of this thread's processor time
OPERATORS = frozenset({"&&", "||", ";", "|"})

_STRUCTURE = frozenset({"program", "list", "pipeline", "command", "command_name"})
_WORDS = frozenset({"word", "number", "raw_string", "string", "concatenation"})
_SPECIAL_UNQUOTED = {
    **dict.fromkeys("*?[]", "a glob"),
    **dict.fromkeys("{}", "a brace expansion"),
    **dict.fromkeys("<>", "a redirection"),
    **dict.fromkeys("()", "a subshell"),
    **dict.fromkeys("&;|", "an operator inside a word"),
    **dict.fromkeys(" \t\n", "a blank inside a word"),
    "$": "an expansion",
    "`": "a command substitution",
}
_ANSI_C_ESCAPE = re.compile(
    r"\\(?:([0-7]{1,3})|(x[0-9a-fA-F]{1,2}|u[0-9a-fA-F]{1,4}|U[0-9a-fA-F]{1,8})|(.))", re.DOTALL
)
_ANSI_C_LETTERS = dict(zip("abeEfnrtv\\'\"?", "\a\b\x1b\x1b\f\n\r\t\v\\'\"?", strict=True))
_CHUNK_BYTES = 64 * 1024
_ASCII_ONLY = bytes(range(0x80)) + b"x" * 0x80
_REASONS = {
    "&": "a background command",
    "$": "an expansion",
    "|&": "a pipe of standard error",
    "ansi_c_string": "an ANSI-C string",
    "brace_expression": "a brace expansion",
    "command_substitution": "a command substitution",
    "compound_statement": "a command group",
    "declaration_command": "a declaration",
    "expansion": "an expansion",
    "file_redirect": "a redirection",
    "function_definition": "a function definition",
    "heredoc_redirect": "a here-document",
    "herestring_redirect": "a here-string",
    "negated_command": "a negation",
    "process_substitution": "a process substitution",
    "redirected_statement": "a redirection",
    "simple_expansion": "an expansion",
    "subshell": "a subshell",
    "test_command": "a test expression",
    "variable_assignment": "a variable assignment",
    "variable_assignments": "a variable assignment",
}


class TooCostly(Exception):
    """The script is not worth the time its parsing would take."""


class NotPlain(Exception):
    """The script holds more than plain commands; the message names the first such thing."""


@dataclass(frozen=True)
class PlainCommand:
    words: tuple[str, ...]
    """As the shell would pass them, the command's name first."""
    operator: str = ""
    """What joins it to the next command: one of ``&& || ; |``; empty for the last."""


@dataclass(frozen=True)
class _Token:
    kind: str
    """word, operator or comment."""
    start: int
    end: int
    """Offsets in bytes."""
    text: str
    command: int = -1
    """Words of one command share a number."""


def parse_plain_commands(script: str, ends: float = math.inf) -> tuple[PlainCommand, ...]:
    """Return the script's commands in order; ``ends`` as of ``parse_tree``. Raises NotPlain."""
    if len(script) > MAX_SCRIPT_BYTES or len(script.encode(errors="replace")) > MAX_SCRIPT_BYTES:
        raise NotPlain(f"more than {MAX_SCRIPT_BYTES} bytes")
    deceptive = next((c for c in script if c not in "\t\n" and is_deceptive(c)), None)
    if deceptive is not None:
        raise NotPlain(f"the character U+{ord(deceptive):04X}, which does not show what it is")
    source = script.encode()
    try:
        root = parse_tree(source, ends)
    except TooCostly as error:
        raise NotPlain("something too intricate") from error
    commands = _assemble(source, list(_tokens(source, root)))
    # After the walk, whose reasons are better; before the result, for missing parts have no token.
    if root.has_error:
        raise NotPlain("a syntax error")
    return commands


def render(commands: Sequence[PlainCommand]) -> str:
    """Return a script that passes exactly these words to these commands."""
    return " ".join(f"{shlex.join(command.words)} {command.operator}".rstrip() for command in commands)


def require_time(ends: float) -> None:
    """Raise TooCostly once this thread's processor time (``time.thread_time``) is past ``ends``."""
    if time.thread_time() > ends:
        raise TooCostly("no time is left to judge it")


def parse_tree(source: bytes, ends: float = math.inf) -> Node:
    """Return the root of a script's syntax tree, which a script with errors has too; its nodes' text is masked.

    The grammar looks characters up in a table of 256 and crashes the process on others. To a shell each of them is
    part of a word, as a letter is. ``ends`` is when judging has to end, in this thread's processor time.
    Raises TooCostly: some nonsense takes the parser quadratic time.
    """
    require_time(ends)
    masked = source.translate(_ASCII_ONLY)
    ends = min(ends, time.thread_time() + PARSE_SECONDS)
    try:
        # Bytes given as they are would be parsed without asking whether to go on.
        tree = Parser(_language()).parse(
            lambda offset, point: masked[offset : offset + _CHUNK_BYTES],
            progress_callback=lambda offset, has_error: time.thread_time() > ends,
        )
    except ValueError as error:
        raise TooCostly("not parsed in time") from error
    return tree.root_node


def node_text(source: bytes, node: Node) -> str:
    """Return what stands in the source where the node is."""
    return source[node.start_byte : node.end_byte].decode(errors="replace")


@cache
def _language() -> Language:
    return Language(tree_sitter_bash.language())


def _tokens(source: bytes, root: Node) -> Iterator[_Token]:
    """Yield the tokens in order; raises NotPlain at the first node that is none of a plain script."""
    pending: list[tuple[Node, int]] = [(root, -1)]
    while pending:
        node, command = pending.pop()
        kind = node.type
        if kind in _STRUCTURE:
            number = node.start_byte if kind == "command" else command
            pending.extend((child, number) for child in reversed(node.children))
        elif kind in _WORDS:
            yield _Token("word", node.start_byte, node.end_byte, decode_word(node_text(source, node)), command)
        elif kind in OPERATORS:
            yield _Token("operator", node.start_byte, node.end_byte, kind)
        elif kind == "comment":
            yield _Token("comment", node.start_byte, node.end_byte, "")
        elif node.is_error or node.is_missing:
            raise NotPlain("a syntax error")
        else:
            raise NotPlain(_REASONS.get(kind) or f"shell syntax ({kind})")


def _assemble(source: bytes, tokens: Sequence[_Token]) -> tuple[PlainCommand, ...]:
    """Group words into commands, checking what stands between the tokens."""
    commands: list[PlainCommand] = []
    words: list[str] = []
    previous, newline = _Token("operator", 0, 0, ""), False
    command = -1
    for token in tokens:
        newline = _breaks_line(source, previous, token) or newline
        previous = token
        if token.kind == "comment":
            continue
        if token.kind == "operator":
            if not words or newline:
                raise NotPlain(f"a misplaced {token.text}")
            commands.append(PlainCommand(tuple(words), token.text))
            words = []
        elif words and token.command != command:
            if not newline:
                raise NotPlain("commands that are not separated")
            commands.append(PlainCommand(tuple(words), ";"))
            words = [token.text]
        elif words and newline:
            raise NotPlain("a line break inside a command")
        else:
            words.append(token.text)
        command, newline = token.command, False
    _blanks(source[previous.end :])
    if words:
        commands.append(PlainCommand(tuple(words)))
    return _complete(commands)


def _complete(commands: list[PlainCommand]) -> tuple[PlainCommand, ...]:
    if not commands:
        raise NotPlain("no command")
    last = commands[-1]
    if last.operator not in ("", ";"):
        raise NotPlain("a syntax error")
    return (*commands[:-1], PlainCommand(last.words))


def _breaks_line(source: bytes, previous: _Token, token: _Token) -> bool:
    """Check what stands between two tokens; return whether it breaks the line."""
    blanks = _blanks(source[previous.end : token.start])
    # To a shell `a\<newline>b` is one word, and `a#b` holds no comment.
    if not blanks and previous.kind == "word" and token.kind != "operator":
        raise NotPlain("a word in several parts")
    return "\n" in blanks


def _blanks(gap: bytes) -> str:
    """Return a gap between tokens without its line continuations; raises NotPlain if it holds more than blanks."""
    blanks = gap.decode().replace("\\\n", "")
    if blanks.strip(" \t\n"):
        raise NotPlain("text that belongs to no word")
    return blanks


def decode_word(source: str) -> str:
    """Return the text a shell makes of one word of source; raises NotPlain where it would expand something."""
    if source.startswith(("~", "#")):
        raise NotPlain("a tilde expansion" if source[0] == "~" else "a comment")
    pieces: list[str] = []
    position = 0
    while position < len(source):
        character = source[position]
        if character == "'":
            end = _closing(source, position)
            pieces.append(source[position + 1 : end])
            position = end + 1
        elif character == '"':
            text, position = _decode_double_quoted(source, position + 1)
            pieces.append(text)
        elif character == "\\":
            escaped = source[position + 1 : position + 2]
            if escaped in ("", "\n"):
                raise NotPlain("a line continuation inside a word")
            pieces.append(escaped)
            position += 2
        elif character in _SPECIAL_UNQUOTED:
            raise NotPlain(_SPECIAL_UNQUOTED[character])
        elif character == "~" and source[position - 1] in "=:":
            raise NotPlain("a tilde expansion")
        else:
            pieces.append(character)
            position += 1
    return "".join(pieces)


def decode_ansi_c(text: str) -> str:
    r"""Return what a shell makes of the inside of ``$'…'``; escapes no shell knows stay as they are."""

    def character(match: re.Match[str]) -> str:
        octal, code, letter = match.groups()
        if octal or code:
            # Beyond Unicode there is nothing to name a file or an option by.
            return chr(min(int(octal, 8) if octal else int(code[1:], 16), 0x10FFFF))
        return _ANSI_C_LETTERS.get(letter, match[0])

    return _ANSI_C_ESCAPE.sub(character, text)


def _closing(source: str, opening: int) -> int:
    end = source.find("'", opening + 1)
    if end < 0:
        raise NotPlain("a syntax error")
    return end


def _decode_double_quoted(source: str, position: int) -> tuple[str, int]:
    """Decode from behind the opening quote; return the text and the position behind the closing one."""
    pieces: list[str] = []
    while position < len(source):
        character = source[position]
        following = source[position + 1 : position + 2]
        if character == '"':
            return "".join(pieces), position + 1
        if character == "`":
            raise NotPlain("a command substitution")
        # A dollar sign is itself only before something that can begin no name, parameter or quote.
        if character == "$" and following not in ('"', " ", "|", ")"):
            raise NotPlain("an expansion")
        if character == "\\" and following and following in '$`"\\\n':
            pieces.append("" if following == "\n" else following)
            position += 2
        else:
            pieces.append(character)
            position += 1
    raise NotPlain("a syntax error")
