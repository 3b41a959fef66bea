"""Build the one-file supervisor: `python -m codex_sandbox.build_zipapp OUTPUT`, the same bytes every time."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

# What the supervisor imports; the client's side stays out, it needs a newer Python.
MODULES = (
    "__init__",
    "__main__",
    "calls",
    "digest",
    "errors",
    "fields",
    "frames",
    "isolation",
    "log",
    "output_buffer",
    "process_tree",
    "processes",
    "protocol",
    "server",
    "spawn",
    "stopping",
    "supervisor",
    "tls",
)
SHEBANG = b"#!/usr/bin/env python3\n"
ENTRY = "import sys\nfrom codex_sandbox.__main__ import main\nsys.exit(main())\n"
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
