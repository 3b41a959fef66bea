"""What the node changes on the machine outside its namespaces, written down so that the last node restores it."""

from __future__ import annotations

import json
from pathlib import Path

from codex_cluster import commands

BASE = Path("/var/lib/codex-temporal")
RECORD = BASE / "host-settings.json"
SYSCTL = Path("/proc/sys")

WANTED = {"net/ipv4/ip_forward": "1"}
CHANGED_BY_KUBELET = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
HIDDEN_FOLDERS = (
    "/run/netns",
    "/run/containerd",
    "/var/lib/cni",
    "/var/lib/kubelet",
    "/var/log/containers",
)
"""Paths that are fixed in containerd, CNI and kubelet; the node sees a tmpfs of its own there."""


def apply() -> None:
    """Record the machine's values and missing folders unless another node did, then set what the node needs."""
    BASE.mkdir(mode=0o711, parents=True, exist_ok=True)
    if not RECORD.exists():
        names = (*WANTED, *CHANGED_BY_KUBELET)
        values = {name: (SYSCTL / name).read_text().strip() for name in names if (SYSCTL / name).exists()}
        missing = [folder for folder in HIDDEN_FOLDERS if not Path(folder).exists()]
        RECORD.write_text(json.dumps({"sysctl": values, "folders": missing}, indent=2))
    for folder in HIDDEN_FOLDERS:
        Path(folder).mkdir(parents=True, exist_ok=True)
    for name, value in WANTED.items():
        _write(name, value)


def users_of(cache: Path) -> list[str]:
    """State folders of the host nodes on this machine that run programs from a cache."""
    nodes = [record.parent for record in BASE.glob("*/owner")]
    return sorted((node / "owner").read_text() for node in nodes if (node / "cache").read_text() == str(cache))


def restore() -> None:
    """Put the recorded values back if no node is left; harmless without a record."""
    if not RECORD.exists() or any(entry.is_dir() for entry in BASE.iterdir()):
        return
    record = json.loads(RECORD.read_text())
    for name, value in record["sysctl"].items():
        _write(name, value)
    for folder in record["folders"]:
        path = Path(folder)
        if not path.exists() or any(path.iterdir()):
            continue
        # `ip netns add` mounts /run/netns on itself, which Path.is_mount does not see.
        if any(line.split()[1] == folder for line in Path("/proc/mounts").read_text().splitlines()):
            commands.output(["umount", folder])
        path.rmdir()
    RECORD.unlink()
    BASE.rmdir()


def _write(name: str, value: str) -> None:
    # Writing an unchanged value can be refused in containers, so it is not written.
    if (SYSCTL / name).read_text().strip() != value:
        (SYSCTL / name).write_text(value)
