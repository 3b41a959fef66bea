"""Images without a Docker engine: buildah with a storage of its own in the user's cache."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from codex_cluster import commands
from codex_cluster.errors import CommandFailedError

MACHINE_FILES = ("/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt")
"""Shown read-only to build steps where they exist: a machine behind a proxy keeps its package settings there."""


class Buildah:
    """Builds, lists and exports images; `run` takes what need not survive."""

    def __init__(self, cache: Path, run: Path) -> None:
        self._storage = cache / "images"
        self._run = run
        settings = run / "containers.conf"
        run.mkdir(parents=True, exist_ok=True)
        # Otherwise buildah writes a lock below /etc/cni, although it needs no network of its own.
        settings.write_text(f'[network]\nnetwork_config_dir = "{run / "networks"}"\n')
        self._program = ["env", f"CONTAINERS_CONF={settings}", "buildah", f"--root={self._storage}", f"--runroot={run}"]

    def exists(self, name: str) -> bool:
        """Whether the storage holds an image of this name."""
        return self._storage.exists() and commands.succeeds([*self._program, "inspect", "--type=image", name])

    def commit_tree(self, tree: Path, name: str, environment: Mapping[str, str], log: Path) -> None:
        """Make an image of one layer out of a directory tree."""
        container = commands.output([*self._program, "from", "scratch"]).strip()
        try:
            commands.run_logged([*self._program, "add", "--quiet", container, str(tree), "/"], log)
            settings = [f"--env={key}={value}" for key, value in environment.items()]
            commands.output([*self._program, "config", *settings, container])
            commands.run_logged([*self._program, "commit", "--quiet", container, name], log)
        finally:
            commands.output([*self._program, "rm", container])

    def build(self, context: Path, target: str, name: str, arguments: Mapping[str, str], log: Path) -> None:
        """Build one target of the Dockerfile in `context`; raises CommandFailedError with the end of the output."""
        mounts = [f"--volume={path}:{path}:ro" for path in MACHINE_FILES if Path(path).exists()]
        values = [f"--build-arg={key}={value}" for key, value in arguments.items()]
        options = ["--isolation=chroot", "--network=host", "--layers", f"--target={target}", f"--tag={name}"]
        commands.run_logged([*self._program, "build", *options, *mounts, *values, str(context)], log)

    def export(self, name: str, archive: Path) -> None:
        """Write an image as a docker archive, whose layers are not compressed: four times faster than an OCI one."""
        commands.output([*self._program, "push", "--quiet", name, f"docker-archive:{archive}:{name}"], timeout=600)

    def remove(self) -> None:
        """Remove the storage, its mounts first."""
        if self._storage.exists() and shutil.which("buildah"):
            for clear in (["rm", "--all"], ["rmi", "--all", "--force"]):
                try:
                    commands.output([*self._program, *clear])
                except CommandFailedError as error:
                    print(f"while emptying {self._storage}: {error}")
        shutil.rmtree(self._storage, ignore_errors=not self._storage.exists())
        shutil.rmtree(self._run, ignore_errors=not self._run.exists())
