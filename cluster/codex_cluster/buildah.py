"""Images without a Docker engine: buildah with a storage of its own in the user's cache."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from codex_cluster import commands
from codex_cluster.errors import CommandFailedError

MACHINE_FILES = ("/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt")
"""Shown read-only to build steps where they exist: a machine behind a proxy keeps its package settings there."""

MOUNT_AND_RUN = 'mount -t tmpfs tmpfs "$0" && exec "$@"'


class Buildah:
    """Builds, lists and exports images.

    Every command runs in a mount namespace of its own with a fresh run directory: otherwise mounts of layers stay on
    the machine after a build, and two clones disagree about who has mounted what.
    """

    def __init__(self, cache: Path, run: Path) -> None:
        self._storage = cache / "images"
        mount_point, settings = run / "root", run / "containers.conf"
        mount_point.mkdir(parents=True, exist_ok=True)
        # Otherwise buildah writes a lock below /etc/cni, although it needs no network of its own.
        settings.write_text(f'[network]\nnetwork_config_dir = "{run / "networks"}"\n')
        private = ["unshare", "--mount", "--propagation", "private", "sh", "-c", MOUNT_AND_RUN, str(mount_point)]
        program = ["buildah", f"--root={self._storage}", f"--runroot={mount_point}"]
        self._program = [*private, "env", f"CONTAINERS_CONF={settings}", *program]

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
        """Remove the storage."""
        if self._storage.exists() and shutil.which("buildah"):
            for clear in (["rm", "--all"], ["rmi", "--all", "--force"]):
                try:
                    commands.output([*self._program, *clear])
                except CommandFailedError as error:
                    print(f"while emptying {self._storage}: {error}")
        shutil.rmtree(self._storage, ignore_errors=not self._storage.exists())
