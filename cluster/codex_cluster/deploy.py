"""Installs the chart with everything it needs for a trial on this clone's cluster."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from codex_cluster import commands
from codex_cluster.errors import ClusterError
from codex_cluster.layout import REPOSITORY, Layout
from codex_cluster.progress import Progress

RELEASE = "codex"
NAMESPACE = "codex-system"
CHART = REPOSITORY / "helm" / "codex-temporal"
INSTALL_SECONDS = 300


def deploy(layout: Layout, progress: Progress, values: Mapping[str, Any] | None = None) -> None:
    """Install or upgrade the release and wait until it works; ``values`` are laid over those of a trial.

    Raises ClusterError where there is no cluster, or no images were loaded, and CommandFailedError.
    """
    if not layout.images_file.exists():
        raise ClusterError("no images are loaded: run `make up` and `python -m codex_cluster images` first")
    merged = {"trial": {"enabled": True}, "images": json.loads(layout.images_file.read_text())}
    for key, value in (values or {}).items():
        merged[key] = {**merged[key], **value} if key in merged else value
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(merged, file)
        file.flush()
        with progress.step("installing the chart", estimate_seconds=40):
            commands.output(helm(layout, "upgrade", "--install", RELEASE, str(CHART), "--create-namespace",
                                 "--values", file.name, "--wait", "--timeout", f"{INSTALL_SECONDS}s"),
                            timeout=INSTALL_SECONDS + 30)  # fmt: skip


def helm(layout: Layout, *arguments: str) -> list[str]:
    """Return the command line of helm on this cluster, in the release's namespace."""
    kubeconfig = ["--kubeconfig", str(layout.kubeconfig()), "--namespace", NAMESPACE]
    return [str(layout.binaries / "helm"), *arguments, *kubeconfig]


def kubectl(layout: Layout, *arguments: str, user: str = "admin") -> list[str]:
    """Return the command line of kubectl on this cluster as a user."""
    return [str(layout.binaries / "kubectl"), "--kubeconfig", str(layout.kubeconfig(user)), *arguments]


def example(name: str) -> Path:
    return REPOSITORY / "examples" / name
