"""The image that stands in for the public Python image where no registry can be reached: Debian with Python."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

from codex_cluster import commands
from codex_cluster.buildah import Buildah
from codex_cluster.progress import Progress

SUITE = "trixie"
PACKAGES = ("python3", "python3-venv", "ca-certificates", "git", "ripgrep", "procps")
UNNEEDED = (
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/info",
    "var/lib/apt/lists",
    "var/cache/apt",
)
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


def name() -> str:
    """The image's name, whose tag changes with its definition."""
    definition = repr((SUITE, PACKAGES, UNNEEDED, ENVIRONMENT))
    return f"localhost/codex-base:{hashlib.sha256(definition.encode()).hexdigest()[:12]}"


def ensure(cache: Path, buildah: Buildah, progress: Progress) -> str:
    """Build the image unless the storage has it; returns its name."""
    if buildah.exists(name()):
        return name()
    log = cache / "logs" / "base-image.log"
    with (
        progress.step(f"building the base image from Debian {SUITE}", estimate_seconds=70, log=log),
        tempfile.TemporaryDirectory(dir=cache) as folder,
    ):
        tree = Path(folder) / "tree"
        included = ",".join(PACKAGES)
        commands.run_logged(["debootstrap", "--variant=minbase", f"--include={included}", SUITE, str(tree)], log)
        for path in UNNEEDED:
            shutil.rmtree(tree / path)
            (tree / path).mkdir()
        buildah.commit_tree(tree, name(), ENVIRONMENT, log)
    return name()
