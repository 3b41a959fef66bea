"""The patch program as a command of a session: found whatever PATH says, once per call, with the digest as sent."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from codex_sandbox.digest import command_digest
from codex_sandbox.testing import LocalSandbox, command

if TYPE_CHECKING:
    from pathlib import Path

    from codex_sandbox.client import SandboxClient

ADD = "*** Begin Patch\n*** Add File: n\n+a\n*** End Patch\n"
APPEND = "*** Begin Patch\n*** Update File: n\n@@\n+b\n*** End Patch\n"
REPORT = ("codex-apply-patch", "--report", "--turn")


@pytest.mark.parametrize("name", ["codex-apply-patch", "apply_patch"])
async def test_a_patch_is_applied_whatever_path_and_python_variables_say(
    sandbox: LocalSandbox, client: SandboxClient, name: str
) -> None:
    decoy = sandbox.workspace / "bin"
    decoy.mkdir()
    (decoy / name).write_text("#!/bin/sh\necho decoy\n")
    (decoy / name).chmod(0o755)
    (sandbox.workspace / "json.py").write_text("raise SystemExit('decoy')")
    hostile = {"PATH": str(decoy), "PYTHONPATH": str(sandbox.workspace), "PYTHONHOME": "/nowhere"}
    sent = command(client, "t1.s1.c1", name, stdin=ADD, environment=hostile)
    assert sent.digest == command_digest((name,), ".", ADD, hostile, False)
    reply = await client.start(sent)
    assert (reply.output, reply.exit_code) == ("Success. Updated the following files:\nA n\n", 0)
    assert (sandbox.workspace / "n").read_text() == "a\n"


async def test_the_same_call_again_changes_nothing_more(sandbox: LocalSandbox, client: SandboxClient) -> None:
    await client.start(command(client, "t1.s1.c1", "apply_patch", stdin=ADD))
    replies = [await client.start(command(client, "t1.s1.c2", "apply_patch", stdin=APPEND)) for _ in range(3)]
    assert [reply.exit_code for reply in replies] == [0, 0, 0]
    assert (sandbox.workspace / "n").read_text() == "a\nb\n"


async def test_the_diff_of_a_turn_is_kept_between_patches(sandbox: LocalSandbox, client: SandboxClient) -> None:
    (sandbox.workspace / "sub").mkdir()
    diffs = []
    for call, turn in (("t3.s1.c1", "3"), ("t3.s2.c1", "3"), ("t4.s1.c1", "4")):
        patch = ADD if turn == "3" and not diffs else APPEND
        reply = await client.start(command(client, call, *REPORT, turn, stdin=patch, directory="sub"))
        diffs.append(json.loads(reply.output)["diff"])
    assert [diff.count("\n+") for diff in diffs] == [2, 3, 2]
    # Below the workspace, wherever the patch was applied.
    assert all(diff.startswith("diff --git a/sub/n b/sub/n\n") for diff in diffs)
    assert [path.name for path in sandbox.workspace.iterdir()] == ["sub"]


async def test_what_a_supervisor_kept_for_diffs_goes_with_it(tmp_path: Path) -> None:
    kept = {"TMPDIR": str(tmp_path), "PATH": os.environ["PATH"]}
    async with LocalSandbox(environment=kept) as sandbox:
        client = await sandbox.client()
        await client.start(command(client, "t1.s1.c1", *REPORT, "1", stdin=ADD))
        (folder,) = tmp_path.iterdir()
        assert (folder.name, folder.stat().st_mode & 0o777) == (f"codex-sandbox-{client.hello.boot_id}", 0o700)
    assert list(tmp_path.iterdir()) == []


async def test_without_a_place_for_temporary_files_a_patch_still_applies(tmp_path: Path) -> None:
    async with LocalSandbox(environment={"TMPDIR": "/proc/nowhere"}) as sandbox:
        client = await sandbox.client()
        reply = await client.start(command(client, "t1.s1.c1", *REPORT, "1", stdin=ADD))
        assert (reply.exit_code, json.loads(reply.output)["text"][:8]) == (0, "Success.")


async def test_a_patch_as_the_argument_and_a_failing_one_report_their_exit_codes(client: SandboxClient) -> None:
    assert (await client.start(command(client, "t1.s1.c1", "apply_patch", ADD))).exit_code == 0
    failed = await client.start(command(client, "t1.s1.c2", *REPORT, "1", stdin="nonsense"))
    assert failed.exit_code == json.loads(failed.output)["exit_code"] == 1
    unused = await client.start(command(client, "t1.s1.c3", "apply_patch", "a", "b"))
    assert (unused.exit_code, unused.output) == (2, "Error: apply_patch accepts exactly one argument.\n")


async def test_a_patch_of_a_missing_folder_is_told_like_any_command(client: SandboxClient) -> None:
    reply = await client.start(command(client, "t1.s1.c1", "apply_patch", stdin=ADD, directory="absent"))
    assert reply.exit_code == 127
    assert "absent: No such file or directory" in reply.output
