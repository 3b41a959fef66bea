"""Ctrl-C while Python still imports: exit code 130, and not a word."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Sends the signal in the moment in which something is imported or called.
INTERRUPTED = """
import os, signal, sys

where = sys.argv[1]

def interrupt(*arguments, **options):
    os.kill(os.getpid(), signal.SIGINT)

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == where:
            interrupt()

sys.meta_path.insert(0, Finder())
from codex_client.__main__ import main, worker_main
import typer.utils
program = worker_main if where == "codex_client.local.errors" else main
if where == "what a command takes":
    typer.utils.get_type_hints = interrupt
sys.argv[1:] = ["run", "Hi."]
program()
"""


@pytest.mark.parametrize(
    "where", ["asyncio", "typer", "what a command takes", "codex_client.local.config", "codex_client.local.errors"]
)
def test_control_c_before_anything_begins_leaves_without_a_word(where: str) -> None:
    command = [sys.executable, "-c", INTERRUPTED, where]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
