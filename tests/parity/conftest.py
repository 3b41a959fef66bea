"""The Codex CLI and this product, each with a home of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from bench.agents import CodexCli, OurCommand, homes


@pytest.fixture(scope="session")
def agent_homes() -> Iterator[list[Path]]:
    with homes("codex", "ours") as folders:
        yield folders


@pytest.fixture(scope="session")
def codex_cli(agent_homes: list[Path]) -> CodexCli:
    return CodexCli("Codex CLI", agent_homes[0])


@pytest.fixture(scope="session")
def our_command(agent_homes: list[Path]) -> OurCommand:
    return OurCommand("codex-temporal", agent_homes[1])
