"""A real supervisor and a connection to it for every test that asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from codex_sandbox.testing import LocalSandbox, TestingAuthority

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from codex_sandbox.client import SandboxClient


@pytest.fixture
async def sandbox() -> AsyncIterator[LocalSandbox]:
    async with LocalSandbox() as running:
        yield running


@pytest.fixture
async def client(sandbox: LocalSandbox) -> SandboxClient:
    return await sandbox.client()


@pytest.fixture
def authority(tmp_path: Path) -> TestingAuthority:
    folder = tmp_path / "authority"
    folder.mkdir()
    return TestingAuthority(folder)
