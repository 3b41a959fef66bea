"""Programs of ours that commands may name: found by the supervisor itself, whatever PATH says."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

PATCH_PROGRAMS = frozenset({"codex-apply-patch", "apply_patch"})
# Where this package was imported from: a folder, or the one-file supervisor.
_SOURCE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_RUN = "import sys; sys.path.append(sys.argv.pop(1)); from codex_sandbox.apply_patch import main; sys.exit(main())"


def resolve(argv: Sequence[str], workspace: str, private_folder: str) -> list[str]:
    """Return what to execute for a command as it was sent, which its digest and the journal keep.

    The patch program gets a folder for how files were before a turn, and the workspace to name them from.
    """
    if argv[0] not in PATCH_PROGRAMS:
        return list(argv)
    # Isolated: no variable and no module of the session changes what runs.
    python = [sys.executable or "python3", "-I", "-S", "-B", "-c", _RUN, _SOURCE]
    return [*python, "--baselines", private_folder, "--root", workspace, *argv[1:]]
