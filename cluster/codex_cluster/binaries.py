"""Build a component's programs once per user and version."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable
from pathlib import Path

from codex_cluster import commands, locking
from codex_cluster.components import Component
from codex_cluster.errors import ClusterError
from codex_cluster.layout import MODULES
from codex_cluster.progress import Progress

STAMP = "built-from"
GO_FOLDER = "go"
GO_LOCK = "go.lock"


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


def build(components: Iterable[Component], cache: Path, progress: Progress, modules: Path = MODULES) -> None:
    """Build those components whose programs the cache lacks, then drop the compiler's own gigabytes.

    Safe beside another process that builds the same. Raises CommandFailedError with the end of a build's log; what is
    compiled until then is kept for the next try.
    """
    missing = [component for component in components if not is_built(component, cache, modules)]
    if not missing:
        return
    cache.mkdir(parents=True, exist_ok=True)
    with locking.shared(cache / GO_LOCK):
        for component in missing:
            with locking.exclusive(cache / f"{component.folder}.lock"):
                if not is_built(component, cache, modules):
                    _build(component, cache, progress, modules)
    with locking.exclusive_now(cache / GO_LOCK) as alone:
        if alone and (cache / GO_FOLDER).exists():
            with progress.step("removing the compiler's own cache", estimate_seconds=15):
                commands.output(["rm", "-rf", str(cache / GO_FOLDER)], timeout=600)


def build_command(component: Component, cache: Path, destination: Path) -> list[str]:
    """The `go` command line: the same for all components, with caches of our own that `clean` can remove."""
    return [
        "env",
        f"CGO_ENABLED={int(component.uses_c)}",
        f"GOBIN={destination}",
        f"GOMODCACHE={cache / GO_FOLDER / 'modules'}",
        f"GOCACHE={cache / GO_FOLDER / 'objects'}",
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


def _build(component: Component, cache: Path, progress: Progress, modules: Path) -> None:
    if shutil.which("go") is None:
        raise ClusterError(f"building {component.folder} needs Go 1.26 or newer on PATH: https://go.dev/dl/")
    target = cache / component.folder
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
