"""Images without a Docker engine: buildah with a storage of its own in the user's cache."""

from __future__ import annotations

import json
import shutil
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from codex_cluster import commands
from codex_cluster.errors import CommandFailedError

RUN_DIRECTORY = Path("/run/codex-temporal-buildah")
MACHINE_FILES = ("/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt")
"""Shown read-only to build steps where they exist: a machine behind a proxy keeps its package settings there."""


class Buildah:
    """Builds, lists and exports images."""

    def __init__(self, cache: Path) -> None:
        self._storage = cache / "images"
        self._program = ["buildah", f"--root={self._storage}", f"--runroot={RUN_DIRECTORY}"]

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

    def export(self, names: Sequence[str], archive: Path) -> None:
        """Write images into one OCI archive in which they share their layers, uncompressed."""
        with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
            layout = Path(folder) / "layout"
            for index, name in enumerate(names):
                push = ["push", "--quiet", "--disable-compression", name, f"oci:{layout}:{index}"]
                commands.output([*self._program, *push], timeout=600)
            index_file = layout / "index.json"
            index_file.write_text(_named_index(index_file.read_text(), names))
            with tarfile.open(archive, "w") as sink:
                sink.add(layout, arcname=".")

    def remove(self) -> None:
        """Remove the storage, its mounts first."""
        if self._storage.exists() and shutil.which("buildah"):
            for clear in (["rm", "--all"], ["rmi", "--all", "--force"]):
                try:
                    commands.output([*self._program, *clear])
                except CommandFailedError as error:
                    print(f"while emptying {self._storage}: {error}")
        shutil.rmtree(self._storage, ignore_errors=not self._storage.exists())
        shutil.rmtree(RUN_DIRECTORY, ignore_errors=not RUN_DIRECTORY.exists())


def _named_index(text: str, names: Sequence[str]) -> str:
    """Replace the numbers that `export` used as references by the names that containerd reads."""
    index = json.loads(text)
    for manifest in index["manifests"]:
        number = int(manifest["annotations"]["org.opencontainers.image.ref.name"])
        manifest["annotations"] = {"io.containerd.image.name": names[number]}
    return json.dumps(index)
