"""The product's images: named by what is in them, built only when that changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from codex_cluster import base_image, dockerfile
from codex_cluster.buildah import Buildah
from codex_cluster.errors import ClusterError
from codex_cluster.host_node import HostNode
from codex_cluster.layout import Layout
from codex_cluster.progress import Progress

TARGETS = ("app", "sandbox", "trial")
REPOSITORY_NAME = "localhost/codex-temporal"
IGNORED = {"__pycache__", ".git", ".venv", ".cluster", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis"}
TAG_LENGTH = 16


def tags(context: Path, base: str) -> dict[str, str]:
    """Target to image name with a content tag. Raises ClusterError without a Dockerfile or one of its targets."""
    file = context / "Dockerfile"
    if not file.exists():
        raise ClusterError(f"there is no {file}")
    text = file.read_text()
    stages = dockerfile.parse(text)
    missing = [target for target in TARGETS if target not in stages]
    if missing:
        raise ClusterError(f"{file} lacks the targets {', '.join(missing)}")
    return {target: f"{REPOSITORY_NAME}/{target}:{fingerprint(context, text, target, base)}" for target in TARGETS}


def development_name(target: str) -> str:
    """The name that always means the newest build."""
    return f"{REPOSITORY_NAME}/{target}:dev"


def fingerprint(context: Path, text: str, target: str, base: str) -> str:
    """Sixteen hexadecimal digits over the Dockerfile, the target, the base image's name and every file copied in."""
    digest = hashlib.sha256(f"{text}\0{target}\0{base}".encode())
    for path in dockerfile.context_paths(dockerfile.parse(text), target):
        for file in _files(context, path):
            digest.update(f"{file.relative_to(context)}\0{file.stat().st_mode & 0o111}\0".encode())
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:TAG_LENGTH]


def build_for_host(layout: Layout, node: HostNode, context: Path, progress: Progress) -> dict[str, str]:
    """Build what is missing with buildah, load it into the node, write `.cluster/images.json`."""
    buildah = Buildah(layout.cache, layout.run / "buildah")
    names = tags(context, base_image.name())
    present = node.images()
    absent = {target: name for target, name in names.items() if name not in present}
    for target, name in absent.items():
        _build(layout, buildah, context, target, name, progress)
        with progress.step(f"loading image {target} into the node", estimate_seconds=6):
            archive = layout.data / "image.tar"
            archive.unlink(missing_ok=True)
            buildah.export(name, archive)
            node.import_image(archive)
            archive.unlink()
    for target, name in names.items():
        node.tag_image(name, development_name(target))
    write(layout, names)
    return names


def _build(layout: Layout, buildah: Buildah, context: Path, target: str, name: str, progress: Progress) -> None:
    if buildah.exists(name):
        return
    base = base_image.ensure(layout.cache, buildah, progress)
    log = layout.logs / f"image-{target}.log"
    with progress.step(f"building image {target}", estimate_seconds=40, log=log):
        buildah.build(context, target, name, {"BASE_IMAGE": base}, log)


def write(layout: Layout, names: dict[str, str]) -> None:
    """Write `.cluster/images.json`: target to image name."""
    layout.images_file.write_text(json.dumps(names, indent=2) + "\n")


def _files(context: Path, path: str) -> Iterator[Path]:
    for found in sorted(
        context.glob(path.removeprefix("/").rstrip("/") or "*") if path not in {".", "./"} else [context]
    ):
        if found.is_file():
            yield found
        elif found.is_dir():
            yield from (file for file in sorted(found.rglob("*")) if file.is_file() and not _ignored(file, context))


def _ignored(file: Path, context: Path) -> bool:
    return file.suffix == ".pyc" or any(part in IGNORED for part in file.relative_to(context).parts)
