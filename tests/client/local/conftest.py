from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from codex_client.local.testing import Machine, local_machine
from codex_sandbox.testing import installed_bubblewrap


@pytest.fixture(scope="session", autouse=True)
def bubblewrap() -> str:
    """For all tests here: the command runs its sandbox under it."""
    return installed_bubblewrap()


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    """A user's machine whose model says hello."""
    async with local_machine(tmp_path, replies=[{"text": "Hello."}]) as machine:
        yield machine
