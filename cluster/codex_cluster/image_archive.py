"""An image that holds one static program, written without any image tool."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

MEMBER_MODE = 0o755


def program_image(program: Path, name: str) -> bytes:
    """A docker archive: `name` runs `program`, which lies at the root of an otherwise empty file system."""
    layer = _tar({program.name: program.read_bytes()})
    configuration = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": [f"/{program.name}"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    return _tar(
        {
            "config.json": json.dumps(configuration).encode(),
            "layer.tar": layer,
            "manifest.json": json.dumps(manifest).encode(),
        }
    )


def _tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            member.mode = MEMBER_MODE
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
