"""Build a component's programs once per user and version."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from codex_cluster import commands, locking
from codex_cluster.components import Component
from codex_cluster.errors import ClusterError
from codex_cluster.layout import MODULES
from codex_cluster.progress import Progress

STAMP = "built-from"


def fingerprint(component: Component, modules: Path = MODULES) -> str:
    """SHA-256 over everything that decides the programs' content, the toolchain excepted."""
    digest = hashlib.sha256(repr(component).encode())
    for source in sorted((modules / component.module).iterdir()):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()


def is_built(component: Component, cache: Path, modules: Path = MODULES) -> bool:
    """Whether the cache holds these programs, built from the module files as they are now."""
    target = cache / component.folder
    stamp = target / STAMP
    if not stamp.exists() or stamp.read_text() != fingerprint(component, modules):
        return False
    return all((target / program).exists() for program in component.programs)


def build(component: Component, cache: Path, progress: Progress, modules: Path = MODULES) -> Path:
    """The folder with the component's programs, built first where the cache lacks them.

    Safe beside another process that builds the same. Raises CommandFailedError with the end of the build's log.
    """
    target = cache / component.folder
    if is_built(component, cache, modules):
        return target
    with locking.exclusive(cache / f"{component.folder}.lock"):
        if not is_built(component, cache, modules):
            _build(component, cache, target, progress, modules)
    return target


def build_command(component: Component, cache: Path, destination: Path) -> list[str]:
    """The `go` command line: the same for all components, with caches of our own that `clean` can remove."""
    return [
        "env",
        f"CGO_ENABLED={int(component.uses_c)}",
        f"GOBIN={destination}",
        f"GOMODCACHE={cache / 'go' / 'modules'}",
        f"GOCACHE={cache / 'go' / 'objects'}",
        "GOFLAGS=-buildvcs=false -modcacherw",
        "go",
        "install",
        "-v",
        "-trimpath",
        "-tags",
        component.tags,
        "-ldflags",
        f"-s -w {component.linker_flags}".strip(),
        component.package,
    ]


def _build(component: Component, cache: Path, target: Path, progress: Progress, modules: Path) -> None:
    if shutil.which("go") is None:
        raise ClusterError(f"building {component.folder} needs Go 1.26 or newer on PATH: https://go.dev/dl/")
    partial = cache / f"{component.folder}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    log = cache / "logs" / f"{component.folder}.log"
    log.unlink(missing_ok=True)
    with progress.step(f"building {component.folder}", estimate_seconds=component.estimate_seconds, log=log):
        commands.run_logged(build_command(component, cache, partial), log, directory=modules / component.module)
    (partial / STAMP).write_text(fingerprint(component, modules))
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
