"""What runs without asking, run by real programs among files that try to make them run something."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from codex_worker.tools.environment import command_environment, safe_command_environment
from codex_worker.tools.safe_commands import safe_argv


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, timeout=20)


def run_unasked(script: str, folder: Path, extra: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a script as a sandbox would: the overlay laid over an environment of the image."""
    environment = {**os.environ, **(extra or {}), **safe_command_environment("uid", str(folder))}
    return subprocess.run(
        safe_argv(script),
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
    )


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """A program that leaves a file behind when anything runs it."""
    program = tmp_path / "trap"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/sprung\ncat\n")
    program.chmod(0o755)
    return program


@pytest.fixture
def repository(tmp_path: Path, trap: Path) -> Path:
    """A repository with two commits, a change, and settings that name the trap wherever git would run a program."""
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init")
    (folder / ".gitattributes").write_text("*.txt diff=trapped\n")
    signer = tmp_path / "signer"
    signer.write_text(
        "#!/bin/sh\ncat >/dev/null\necho '[GNUPG:] SIG_CREATED ' >&2\necho '-----BEGIN PGP SIGNATURE-----'\n"
    )
    signer.chmod(0o755)
    for text, signed in (("one", "--no-gpg-sign"), ("two", "--no-gpg-sign"), ("signed", "--gpg-sign=a")):
        (folder / "a.txt").write_text(f"{text}\n")
        git(folder, "add", ".")
        git(folder, "-c", f"gpg.program={signer}", "commit", signed, "-m", text)
    (folder / "a.txt").write_text("three\n")
    for key in (
        "core.fsmonitor",
        "core.pager",
        "pager.log",
        "pager.diff",
        "diff.external",
        "diff.trapped.command",
        "diff.trapped.textconv",
        "gpg.program",
        "core.sshCommand",
        "core.editor",
    ):
        git(folder, "config", key, str(trap))
    hooks = folder / "hooks"
    hooks.mkdir()
    (hooks / "post-index-change").write_text(f"#!/bin/sh\n{trap} </dev/null\n")
    (hooks / "post-index-change").chmod(0o755)
    git(folder, "config", "core.hooksPath", str(hooks))
    (folder.parent / "sprung").unlink(missing_ok=True)
    return folder


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("git status --short", "M a.txt"),
        ("git diff", "+three"),
        ("git show", "+signed"),
        ("git log -p", "+one"),
        ("git log -1 '--format=%G?:%s'", "N:signed"),
        ("git branch", "* main"),
        ("git diff | cat", "+three"),
    ],
)
def test_reading_git_runs_no_program_of_the_repository(repository: Path, script: str, expected: str) -> None:
    done = run_unasked(script, repository)
    assert done.returncode == 0, done.stderr
    assert expected in done.stdout
    assert not (repository.parent / "sprung").exists()


@pytest.mark.parametrize(
    "arguments",
    [["diff"], ["status"], ["log", "-1", "--format=%G?"], ["-c", "diff.external=", "log", "-p", "--textconv"]],
)
def test_the_trap_would_spring_without_the_precautions(repository: Path, arguments: list[str]) -> None:
    subprocess.run(["git", *arguments], cwd=repository, stdin=subprocess.DEVNULL, capture_output=True, timeout=20)
    assert (repository.parent / "sprung").exists()


def test_a_bare_repository_among_the_files_is_not_trusted(tmp_path: Path, trap: Path) -> None:
    workspace = tmp_path / "workspace"
    bare = workspace / "vendored"
    bare.mkdir(parents=True)
    git(workspace, "init")
    git(bare, "init", "--bare")
    for key, value in (("core.bare", "false"), ("core.worktree", str(workspace)), ("diff.external", str(trap))):
        git(bare, "config", key, value)
    trusted = subprocess.run(["git", "status"], cwd=bare, capture_output=True, timeout=20)
    done = run_unasked("cd vendored && git status", workspace)
    assert trusted.returncode == 0
    assert done.returncode != 0
    assert "safe.bareRepository" in done.stderr


@pytest.mark.parametrize("name", ["ls", "cat", "git", "bash"])
def test_a_file_of_the_workspace_does_not_stand_in_for_a_command(tmp_path: Path, trap: Path, name: str) -> None:
    trap.rename(tmp_path / name)
    script = {"git": "git status", "bash": "ls && pwd", "cat": "cat /dev/null"}.get(name, name)
    run_unasked(script, tmp_path, {"PATH": f"{tmp_path}:.:{os.environ['PATH']}", "HOME": str(tmp_path)})
    assert not (tmp_path / "sprung").exists()


def test_no_file_of_the_workspace_is_read_when_a_shell_starts(tmp_path: Path, trap: Path) -> None:
    for name in (".bashrc", ".profile", ".bash_profile"):
        (tmp_path / name).write_text(f"{trap} </dev/null\n")
    done = run_unasked("ls -a && pwd", tmp_path, {"HOME": str(tmp_path), "BASH_ENV": str(tmp_path / ".bashrc")})
    assert done.returncode == 0
    assert ".bashrc" in done.stdout
    assert not (tmp_path / "sprung").exists()


def test_joined_commands_run_in_order_and_see_the_changed_directory(tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b" / "file").write_text("1\n2\n3\n")
    done = run_unasked("cd 'a b' && cat file | head -n 2; echo \"it's $\" || pwd", tmp_path)
    assert (done.returncode, done.stdout) == (0, "1\n2\nit's $\n")


def test_a_command_that_was_approved_may_use_git_in_a_volume_of_another_owner(tmp_path: Path) -> None:
    git(tmp_path, "init")
    environment = {**os.environ, "GIT_TEST_ASSUME_DIFFERENT_OWNER": "1"}
    status = ["git", "status", "--short"]
    refused = subprocess.run(status, cwd=tmp_path, env=environment, capture_output=True, timeout=20)
    assert b"dubious ownership" in refused.stderr
    for overlay in (command_environment, safe_command_environment):
        allowed = {**environment, **overlay("uid", str(tmp_path))}
        done = subprocess.run(status, cwd=tmp_path, env=allowed, capture_output=True, timeout=20)
        assert (done.returncode, done.stderr) == (0, b"")
