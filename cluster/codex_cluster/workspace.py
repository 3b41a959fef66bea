"""The files of `.cluster/` that people use: programs and the shell file `env`."""

from __future__ import annotations

import shutil
from pathlib import Path

from codex_cluster.layout import Layout

PROVIDER_FILE = "provider"


def write(layout: Layout, programs: Path) -> None:
    """Link kubectl and helm into `.cluster/bin` and write `.cluster/env`."""
    layout.binaries.mkdir(parents=True, exist_ok=True)
    for program in sorted(programs.iterdir()):
        link = layout.binaries / program.name
        link.unlink(missing_ok=True)
        link.symlink_to(program)
    (layout.state / "env").write_text(environment(layout))


def environment(layout: Layout) -> str:
    """Shell text that selects this cluster."""
    return f"""# Source this file: . {layout.state}/env
export KUBECONFIG='{layout.kubeconfig()}'
export PATH='{layout.binaries}':"$PATH"
# To become an ordinary user: export KUBECONFIG='{layout.kubeconfig("alice")}'
#                         or: export KUBECONFIG='{layout.kubeconfig("bob")}'
"""


def provider(layout: Layout) -> str | None:
    """The provider of this clone's cluster, or None where there is no cluster.

    A host node is also found by its data, so that deleting the state folder by hand does not orphan it.
    """
    record = layout.state / PROVIDER_FILE
    if record.exists():
        return record.read_text().strip()
    return "host" if layout.data.exists() else None


def record_provider(layout: Layout, name: str) -> None:
    """Remember the provider before it changes anything, so that `down` finds it after any interruption."""
    layout.state.mkdir(parents=True, exist_ok=True)
    (layout.state / PROVIDER_FILE).write_text(name + "\n")


def remove(layout: Layout) -> None:
    """Remove the whole folder, which holds nothing but what this tool wrote."""
    shutil.rmtree(layout.state, ignore_errors=not layout.state.exists())
