"""A patch that a model sends as a shell command, which no shell has to see."""

from __future__ import annotations

import re
from dataclasses import dataclass

from codex_worker.tools.shell_syntax import NotPlain, decode_word

_WORD = r"""(?:[^\s'"]|'[^']*'|"[^"]*")+"""
_START = rf"\s*(?:cd\s+(?P<directory>{_WORD})\s*&&\s*)?(?:apply_patch|applypatch)"
_HEREDOC = re.compile(
    _START + r"""[ \t]*<<[ \t]*(?P<quote>['"]?)(?P<end>\w+)(?P=quote)[ \t]*\n(?P<patch>.*\n)(?P=end)\s*""", re.DOTALL
)
_ARGUMENT = re.compile(_START + r"""[ \t]+(?P<word>'[^']*'|"(?:[^"\\]|\\.)*")\s*""", re.DOTALL)


@dataclass(frozen=True)
class ShellPatch:
    text: str
    directory: str | None
    """Where ``cd`` went before; None without one."""


def patch_in_shell(script: str) -> ShellPatch | None:
    """Return the patch if the whole script is ``[cd DIR &&] apply_patch <<EOF`` or has it as its only argument."""
    try:
        if heredoc := _HEREDOC.fullmatch(script):
            patch = heredoc["patch"]
            # What stands behind the first closing line would be further commands.
            if heredoc["end"] in patch.splitlines():
                return None
        elif argument := _ARGUMENT.fullmatch(script):
            patch = decode_word(argument["word"])
        else:
            return None
        directory = (heredoc or argument)["directory"]  # type: ignore[index]
        return ShellPatch(patch, None if directory is None else decode_word(directory))
    except NotPlain:
        return None
