"""`codex-apply-patch` as a process: exit codes, texts and the files it leaves."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from codex_sandbox import build_zipapp
from codex_sandbox.patch.applying import apply_plan
from codex_sandbox.patch.grammar import parse_patch
from codex_sandbox.patch.planning import MAX_FILE_BYTES, plan_patch

PROGRAM = (sys.executable, "-m", "codex_sandbox.apply_patch")


def patch(*lines: str) -> str:
    return "\n".join(["*** Begin Patch", *lines, "*** End Patch", ""])


def apply(folder: Path, text: str | bytes, *arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    given = text.encode() if isinstance(text, str) else text
    ended = subprocess.run(  # type: ignore[call-overload]
        [*PROGRAM, *arguments], input=given, cwd=folder, capture_output=True, check=False, timeout=60, **options
    )
    return subprocess.CompletedProcess(ended.args, ended.returncode, ended.stdout.decode(), ended.stderr.decode())


def tree(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


def lay_out(folder: Path, **files: str) -> None:
    for name, content in files.items():
        (folder / name).write_text(content)


def test_files_are_added_updated_moved_and_deleted(tmp_path: Path) -> None:
    lay_out(tmp_path, gone="1\n", changed="a\n", moved="a\n")
    text = patch(
        *("*** Add File: deep/er/new", "+x", "*** Delete File: gone", "*** Update File: changed", "@@", "-a", "+b"),
        *("*** Update File: moved", "*** Move to: other/place", "-a", "+c"),
    )
    done = apply(tmp_path, text)
    summary = "Success. Updated the following files:\nA deep/er/new\nM changed\nM other/place\nD gone\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, summary, "")
    assert tree(tmp_path) == {"changed": "b\n", "deep/er/new": "x\n", "other/place": "c\n"}


def test_later_hunks_see_what_earlier_ones_did(tmp_path: Path) -> None:
    text = patch(
        *("*** Add File: n", "+a", "*** Update File: n", "@@", "-a", "+b", "*** Update File: n", "*** Move to: m"),
        *("@@", "-b", "+c", "*** Update File: m", "-c", "+d"),
    )
    assert apply(tmp_path, text).returncode == 0
    assert tree(tmp_path) == {"m": "d\n"}


def test_a_file_moved_onto_itself_is_only_updated(tmp_path: Path) -> None:
    lay_out(tmp_path, n="a\n")
    assert apply(tmp_path, patch("*** Update File: n", "*** Move to: ./n", "-a", "+b")).returncode == 0
    assert tree(tmp_path) == {"n": "b\n"}


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        (["*** Update File: absent", "-a", "+b"], "Failed to read file to update {}/absent: No such file or directory"),
        (["*** Update File: n", "-z", "-y", "+b"], "Failed to find expected lines in {}/n:\nz\ny\n"),
        (["*** Update File: n", "@@ def f", "-a"], "Failed to find context 'def f' in {}/n\n"),
        (
            ["*** Update File: folder", "-a"],
            "Failed to read file to update {0}/folder: path `{0}/folder` is not a file",
        ),
        (["*** Update File: latin", "-a"], "Failed to read file to update {}/latin: invalid utf-8 sequence of 1 bytes"),
        (["*** Update File: pipe", "-a"], "Failed to read file to update {0}/pipe: path `{0}/pipe` is not a file"),
        (["*** Delete File: absent"], "Failed to delete file {}/absent: No such file or directory (os error 2)\n"),
        (["*** Delete File: folder"], "Failed to delete file {}/folder: Is a directory (os error 21)\n"),
        (["*** Delete File: n", "*** Delete File: n"], "Failed to delete file {}/n: No such file or directory"),
        (["*** Add File: folder", "+a"], "Failed to write file {0}/folder: path `{0}/folder` is not a file\n"),
        (["*** Add File: n/below", "+a"], "Failed to write file {}/n/below: Not a directory (os error 20)\n"),
        (["*** Add File: new/" + "n" * 300, "+a"], "File name too long"),
        (["nonsense"], "Invalid patch hunk on line 8: 'nonsense' is not a valid hunk header."),
    ],
)
def test_one_wrong_hunk_changes_nothing_at_all(tmp_path: Path, lines: list[str], complaint: str) -> None:
    lay_out(tmp_path, n="a\n", first="1\n", old="1\n")
    (tmp_path / "latin").write_bytes(b"\xff\n")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    before = sorted(tmp_path.rglob("*"))
    good = ["*** Add File: fresh/file", "+1", "*** Update File: first", "-1", "+2", "*** Delete File: old"]
    done = apply(tmp_path, patch(*good, *lines))
    assert (done.returncode, done.stdout) == (1, "")
    assert complaint.format(tmp_path) in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "first").read_text() == "1\n"


def test_an_empty_patch_modifies_no_files(tmp_path: Path) -> None:
    done = apply(tmp_path, patch())
    assert (done.returncode, done.stderr) == (1, "No files were modified.\n")


def test_the_patch_may_be_the_only_argument(tmp_path: Path) -> None:
    assert apply(tmp_path, "", patch("*** Add File: n", "+a")).returncode == 0
    assert tree(tmp_path) == {"n": "a\n"}


@pytest.mark.parametrize(
    ("arguments", "text", "exit_code", "complaint"),
    [
        ((), b"", 2, "Usage: apply_patch 'PATCH'\n       echo 'PATCH' | apply_patch\n"),
        (("a", "b"), b"", 2, "Error: apply_patch accepts exactly one argument.\n"),
        ((), b"\xff", 1, "Error: Failed to read PATCH from stdin.\nstream did not contain valid UTF-8\n"),
        (("hello",), b"", 1, "Invalid patch: The first line of the patch must be '*** Begin Patch'\n"),
        (("--turn", "x"), b"", 2, "Error: --turn needs a number.\n"),
        (("--turn",), b"", 2, "Error: --turn needs a value.\n"),
    ],
)
def test_wrong_use_is_explained(
    tmp_path: Path, arguments: tuple[str, ...], text: bytes, exit_code: int, complaint: str
) -> None:
    done = apply(tmp_path, text, *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (exit_code, "", complaint)


def test_files_keep_their_mode_and_links_are_written_through(tmp_path: Path) -> None:
    lay_out(tmp_path, script="a\n", moving="a\n")
    (tmp_path / "script").chmod(0o751)
    (tmp_path / "moving").chmod(0o755)
    (tmp_path / "link").symlink_to("script")
    text = patch(
        *("*** Update File: link", "-a", "+b", "*** Update File: script", "-b", "+c"),
        *("*** Update File: moving", "*** Move to: moved", "-a", "+b", "*** Add File: new", "+1"),
    )
    assert apply(tmp_path, text, umask=0o027).returncode == 0
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "script").read_text() == "c\n"
    modes = {name: (tmp_path / name).stat().st_mode & 0o777 for name in ("script", "moved", "new")}
    assert modes == {"script": 0o751, "moved": 0o755, "new": 0o640}


def test_deleting_a_link_leaves_what_it_leads_to(tmp_path: Path) -> None:
    lay_out(tmp_path, kept="a\n")
    (tmp_path / "link").symlink_to("kept")
    (tmp_path / "dangling").symlink_to("nowhere")
    assert apply(tmp_path, patch("*** Delete File: link", "*** Delete File: dangling")).returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept"]


def test_two_dots_are_resolved_in_the_text_of_a_path(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside" / "deep"
    inside.mkdir()
    outside.mkdir(parents=True)
    (inside / "link").symlink_to(outside)
    assert apply(inside, patch("*** Add File: link/../n", "+a")).returncode == 0
    assert (inside / "n").exists()
    assert not (tmp_path / "outside" / "n").exists()
    assert apply(inside, patch(f"*** Add File: {tmp_path}/absolute", "+a")).returncode == 0
    assert (tmp_path / "absolute").read_text() == "a\n"


def test_a_file_that_cannot_grow_changes_nothing(tmp_path: Path) -> None:
    lay_out(tmp_path, first="1\n", second="a\n")
    lines = ["*** Update File: first", "-1", "+2", "*** Update File: second", "-a", *["+" + "x" * 99] * 100]
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))  # noqa: E731
    done = apply(tmp_path, patch(*lines, "*** Add File: new/file", "+1"), preexec_fn=limit)
    complaint = f"Failed to write file {tmp_path}/second: File too large (os error 27)\nNo file was changed.\n"
    assert (done.returncode, done.stderr) == (1, complaint)
    assert tree(tmp_path) == {"first": "1\n", "second": "a\n"}
    assert not (tmp_path / "new").exists()


def test_a_full_disk_changes_nothing(tmp_path: Path, bubblewrap: str) -> None:
    small = tmp_path / "small"
    small.mkdir()
    lines = ["*** Update File: first", "-1", "+2", "*** Update File: second", "-a", *["+" + "x" * 99] * 2000]
    script = (
        "echo 1 > first; echo a > second;"
        f"{sys.executable} -m codex_sandbox.apply_patch 2>&1; echo exit code $?; grep . *; ls -A | wc -l"
    )
    inside = ["--size", "65536", "--tmpfs", str(small), "--chdir", str(small), "sh", "-c", script]
    ended = subprocess.run(
        [bubblewrap, "--ro-bind", "/", "/", "--dev", "/dev", *inside],
        input=patch(*lines), capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert ended.stdout.splitlines() == [
        f"Failed to write file {small}/second: No space left on device (os error 28)",
        "No file was changed.",
        "exit code 1",
        "first:1",
        "second:a",
        "2",
    ], ended.stderr


def test_what_was_changed_before_a_failure_on_the_way_is_told(tmp_path: Path, bubblewrap: str) -> None:
    # A mounted file can be read and be written beside, but neither be replaced nor be removed.
    lay_out(tmp_path, first="1\n", mounted="a\n", last="1\n")
    text = patch(
        *("*** Update File: first", "-1", "+2", "*** Add File: new", "+1", "*** Delete File: mounted"),
        *("*** Delete File: last",),
    )
    binds = ["--ro-bind", "/", "/", "--dev", "/dev", "--bind", str(tmp_path), str(tmp_path)]
    binds += ["--bind", str(tmp_path / "mounted"), str(tmp_path / "mounted"), "--chdir", str(tmp_path)]
    ended = subprocess.run(
        [bubblewrap, *binds, *PROGRAM], input=text, capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode == 1
    assert ended.stderr == (
        f"Failed to delete file {tmp_path}/mounted: Device or resource busy (os error 16)\n"
        "These files were changed before that:\nA new\nM first\n"
    )
    assert tree(tmp_path) == {"first": "2\n", "last": "1\n", "mounted": "a\n", "new": "1\n"}


def test_a_read_only_file_is_not_replaced(tmp_path: Path, bubblewrap: str) -> None:
    lay_out(tmp_path, n="a\n")
    (tmp_path / "n").chmod(0o444)
    tmp_path.chmod(0o777)
    # Without the rights of root, which may write everything.
    user = ["--unshare-user", "--uid", "1000", "--gid", "1000", "--cap-drop", "ALL"]
    binds = ["--ro-bind", "/", "/", "--dev", "/dev", "--bind", str(tmp_path), str(tmp_path), "--chdir", str(tmp_path)]
    ended = subprocess.run(
        [bubblewrap, *user, *binds, *PROGRAM],
        input=patch("*** Update File: n", "-a", "+b"), capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert "Failed to write file" in ended.stderr
    assert "Permission denied (os error 13)\nNo file was changed.\n" in ended.stderr
    assert tree(tmp_path) == {"n": "a\n"}


@pytest.mark.parametrize("call", ["replace", "fchmod"])
def test_a_patch_that_is_stopped_leaves_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    lay_out(tmp_path, n="a\n")
    plan = plan_patch(parse_patch(patch("*** Update File: n", "-a", "+b", "*** Add File: new/m", "+1")), str(tmp_path))

    def stopped(*_: object) -> None:
        raise SystemExit(143)

    monkeypatch.setattr(os, call, stopped)
    with pytest.raises(SystemExit):
        apply_plan(plan)
    assert [path.name for path in tmp_path.iterdir()] == ["n"]
    assert tree(tmp_path) == {"n": "a\n"}


def test_the_one_file_supervisor_holds_the_patch_program(tmp_path: Path) -> None:
    archive = tmp_path / "sandbox.pyz"
    build_zipapp.build_zipapp(archive)
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    python = shutil.which("python3") or sys.executable
    asked = [python, "-I", "-S", str(archive), "apply-patch"]
    text = patch("*** Add File: n", "+a")
    done = subprocess.run(asked, input=text, cwd=workspace, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert tree(workspace) == {"n": "a\n"}


def test_a_file_too_large_to_be_held_in_memory_is_refused_with_the_cure(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    done = apply(tmp_path, patch("*** Update File: large", "@@", "-a", "+b"))
    sizes = "it has 33554433 bytes, and a patch can change files of at most 33554432; change it by a command instead"
    assert (done.returncode, done.stderr.splitlines()[0]) == (
        1,
        f"Failed to read file to update {tmp_path}/large: {sizes}",
    )
    assert (tmp_path / "large").stat().st_size == MAX_FILE_BYTES + 1


def test_the_largest_file_that_is_patched_takes_bounded_memory(tmp_path: Path) -> None:
    line = "x" * 63 + "\n"
    (tmp_path / "large").write_text("first\n" + line * (MAX_FILE_BYTES // len(line) - 1))
    limit = 1024 * 1024 * 1024
    bounded = lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit))  # noqa: E731
    done = apply(tmp_path, patch("*** Update File: large", "@@", "-first", "+FIRST"), preexec_fn=bounded)
    assert (done.returncode, done.stderr) == (0, "")
    with (tmp_path / "large").open() as file:
        assert file.readline() == "FIRST\n"
