from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from codex_client.local.testing import Machine, local_machine


@pytest.fixture(scope="session", autouse=True)
def bubblewrap() -> str:
    """Install bubblewrap where it is missing."""
    if shutil.which("bwrap") is None and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "update", "-q"], check=False, capture_output=True)
        subprocess.run(["apt-get", "install", "-y", "-q", "bubblewrap"], check=True, capture_output=True)
    program = shutil.which("bwrap")
    if program is None:
        pytest.fail("these tests need bubblewrap: apt install bubblewrap")
    return program


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    """A user's machine whose model says hello."""
    async with local_machine(tmp_path, replies=[{"text": "Hello."}]) as machine:
        yield machine
