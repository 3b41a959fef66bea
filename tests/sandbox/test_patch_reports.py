"""What `--report` tells: the text for the model, the changes, and the diff of the whole turn."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_sandbox.patch.unified import unified_diff

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

texts = st.lists(st.sampled_from(["a", "b", "c", "d", "", "e\r"]), max_size=25).map("\n".join)


def patched(text: str, diff: list[str]) -> str:
    """Apply a unified diff of one file, trusting its line numbers alone."""
    lines = re.findall(r".*\n|.+", text)
    result: list[str] = []
    done, last_is_new = 0, False
    for line in diff:
        if line.startswith("@@"):
            start, _, length = line.split()[1][1:].partition(",")
            place = int(start) - (length != "0")
            result += lines[done:place]
            done = place
        elif line.startswith("\\"):
            result[-1:] = [result[-1].removesuffix("\n")] if last_is_new else result[-1:]
        else:
            last_is_new = line[0] != "-"
            if line[0] != "+":
                assert lines[done].removesuffix("\n") == line[1:].removesuffix("\n")
                done += 1
            result += [line[1:]] if last_is_new else []
    return "".join(result + lines[done:])


@given(texts, texts)
def test_a_diff_turns_the_old_text_into_the_new_one(old: str, new: str) -> None:
    diff = list(unified_diff("f", "f", old, new))
    assert (diff == []) == (old == new)
    assert patched(old, diff[3:]) == new


def test_a_diff_of_many_equal_lines_does_not_take_for_ever() -> None:
    old, new = "x\ny\n" * 20_000, "z\n" + "y\nx\n" * 20_000
    diff = list(unified_diff("f", "f", old, new))
    assert patched(old, diff[3:]) == new


@pytest.fixture
def report(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Apply a patch in the folder `work` and return its report."""
    work = tmp_path / "work"
    work.mkdir()

    def apply(*lines: str, turn: int = 1, directory: str = ".") -> dict[str, Any]:
        options = ["--report", "--turn", str(turn), "--baselines", str(tmp_path / "kept"), "--root", str(work)]
        ended = subprocess.run(
            [sys.executable, "-m", "codex_sandbox.apply_patch", *options],
            input="\n".join(["*** Begin Patch", *lines, "*** End Patch"]),
            cwd=work / directory, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert ended.stderr == ""
        told: dict[str, Any] = json.loads(ended.stdout)
        assert set(told) == {"exit_code", "text", "changes", "diff", "diff_truncated"}
        assert told["exit_code"] == ended.returncode
        return told

    return apply


def test_a_report_names_the_changes_as_written(report: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "work" / "old").write_text("a\n")
    lines = ["*** Add File: ./n", "+1", "*** Update File: old", "*** Move to: new", "-a", "+b", "*** Delete File: n"]
    told = report(*lines)
    assert told["text"] == "Success. Updated the following files:\nA ./n\nM new\nD n\n"
    assert told["changes"] == [
        {"path": "./n", "kind": "add", "move_path": None},
        {"path": "old", "kind": "update", "move_path": "new"},
        {"path": "n", "kind": "delete", "move_path": None},
    ]
    assert (told["exit_code"], told["diff_truncated"]) == (0, False)


def test_the_diff_covers_everything_since_the_turn_began(report: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    work = tmp_path / "work"
    (work / "f").write_text("a\nb\nc\n")
    (work / "folder").mkdir()
    report("*** Update File: f", "-a", "+1")
    # What a command does in between belongs to the turn as well.
    (work / "f").write_text("1\nb\n3\n")
    told = report("*** Add File: n", "+new", "*** Update File: ../f", "-1", "+one", directory="folder")
    assert told["diff"] == (
        "diff --git a/f b/f\n--- a/f\n+++ b/f\n@@ -1,3 +1,3 @@\n-a\n+one\n b\n-c\n+3\n"
        "diff --git a/folder/n b/folder/n\nnew file mode 100644\n--- /dev/null\n+++ b/folder/n\n@@ -0,0 +1 @@\n+new\n"
    )
    assert report("*** Delete File: folder/n", "*** Update File: f", "-one", "+a", "@@", "-3", "+c")["diff"] == ""


def test_another_turn_starts_with_the_files_as_they_are(report: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    report("*** Add File: n", "+1", turn=1)
    told = report("*** Update File: n", "-1", "+2", turn=2)
    assert told["diff"] == "diff --git a/n b/n\n--- a/n\n+++ b/n\n@@ -1 +1 @@\n-1\n+2\n"
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["turn-2"]
    assert (tmp_path / "kept").stat().st_mode & 0o777 == 0o700


def test_a_moved_file_is_shown_as_renamed(report: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "work" / "old").write_text("a\nb\n")
    report("*** Update File: old", "-a", "+1")
    told = report("*** Update File: old", "*** Move to: new", "-1", "+2")
    assert told["diff"] == (
        "diff --git a/old b/new\nrename from old\nrename to new\n--- a/old\n+++ b/new\n@@ -1,2 +1,2 @@\n-a\n+2\n b\n"
    )


def test_files_without_text_are_named_only(report: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "work" / "binary").write_bytes(b"\xff\0")
    told = report("*** Delete File: binary")
    assert told["diff"] == "diff --git a/binary b/binary\nBinary or large files differ\n"


def test_a_large_diff_is_cut_at_a_line(report: Callable[..., dict[str, Any]]) -> None:
    told = report("*** Add File: n", *["+ä" + "x" * 99] * 2000)
    assert told["diff_truncated"]
    assert 64 * 1024 - 200 < len(told["diff"].encode()) <= 64 * 1024
    assert told["diff"].endswith("x\n")


def test_a_failure_is_a_report_too(report: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    report("*** Add File: n", "+1")
    told = report("*** Update File: n", "-2")
    expected = f"apply_patch verification failed: Failed to find expected lines in {tmp_path}/work/n:\n2\n"
    assert (told["exit_code"], told["text"], told["changes"]) == (1, expected, [])
    # The turn has still changed what it changed.
    assert "+1" in told["diff"]
    told = report("nonsense")
    assert told["text"].startswith("apply_patch verification failed: invalid hunk at line 2, 'nonsense' is not")


def test_many_missing_lines_are_told_in_bounded_space(report: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "work" / "n").write_text("a\n")
    told = report("*** Update File: n", *["-" + "x" * 30] * 5000)
    assert len(told["text"]) < 10_000
    assert told["text"].endswith(" more lines\n")


def test_a_report_of_thousands_of_files_stays_below_a_megabyte(report: Callable[..., dict[str, Any]]) -> None:
    lines = [line for number in range(1500) for line in (f"*** Add File: {'n' * 90}{number}", "+" + "\1" * 40)]
    told = report(*lines)
    assert (told["exit_code"], told["diff_truncated"]) == (0, True)
    assert told["text"].startswith("Success. Updated the following files:\nA n")
    assert told["text"].endswith("\n… and more\n")
    assert 500 < len(told["changes"]) < 1500
    assert len(json.dumps(told)) < 1024 * 1024


def test_spoiled_baselines_change_nothing_but_the_diff(report: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    report("*** Add File: n", "+1")
    for path in (tmp_path / "kept" / "turn-1").iterdir():
        path.write_text("[]")
    assert report("*** Update File: n", "-1", "+2")["exit_code"] == 0
    (tmp_path / "kept" / "turn-1" / "folder").mkdir()
    assert report("*** Update File: n", "-2", "+3", turn=2)["exit_code"] == 0
