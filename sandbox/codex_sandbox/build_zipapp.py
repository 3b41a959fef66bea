"""Build the one-file supervisor: `python -m codex_sandbox.build_zipapp OUTPUT`, the same bytes every time."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

# What the supervisor imports; the client's side stays out, it needs a newer Python.
SUPERVISOR_MODULES = (
    "__init__",
    "__main__",
    "calls",
    "digest",
    "documents",
    "errors",
    "fields",
    "frames",
    "isolation",
    "log",
    "output_buffer",
    "process_tree",
    "processes",
    "programs",
    "protocol",
    "server",
    "spawn",
    "stopping",
    "supervisor",
    "tls",
)
# What the patch program imports, in a process of its own.
PATCH_MODULES = (
    "apply_patch",
    "patch/__init__",
    "patch/applying",
    "patch/baselines",
    "patch/grammar",
    "patch/matching",
    "patch/planning",
    "patch/reporting",
    "patch/unified",
)
MODULES = (*SUPERVISOR_MODULES, *PATCH_MODULES)
SHEBANG = b"#!/usr/bin/env python3\n"
# `python3 sandbox.pyz apply-patch …` is the patch program; everything else starts the supervisor.
ENTRY = """\
import sys
if sys.argv[1:2] == ["apply-patch"]:
    from codex_sandbox.apply_patch import main
    sys.exit(main(sys.argv[2:]))
from codex_sandbox.__main__ import main
sys.exit(main())
"""
# The oldest time that a ZIP file can tell.
NO_TIME = (1980, 1, 1, 0, 0, 0)


def build_zipapp(output: Path) -> None:
    """Write the archive; raises OSError."""
    folder = Path(__file__).parent
    with output.open("wb") as file:
        file.write(SHEBANG)
        # Stored, not deflated: a minimal Python may lack zlib.
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr(_member("__main__.py"), ENTRY)
            for module in MODULES:
                name = f"codex_sandbox/{module}.py"
                archive.writestr(_member(name), (folder / f"{module}.py").read_bytes())
    output.chmod(0o755)


def _member(name: str) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name, NO_TIME)
    member.external_attr = 0o644 << 16
    return member


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m codex_sandbox.build_zipapp OUTPUT")
    build_zipapp(Path(sys.argv[1]))
