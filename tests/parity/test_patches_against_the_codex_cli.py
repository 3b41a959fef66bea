"""Whatever a patch says, our program does to the files what the Codex CLI's own does, with the same exit code."""

import contextlib
import io
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from bench.tasks import tree
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codex_sandbox.apply_patch import main
from codex_worker.testing import installed_program

Files = Mapping[str, bytes]

LINES = st.sampled_from(
    [
        "",
        " ",
        "a",
        "b",
        "  b",
        "b  ",
        "b\t",
        "def f():",
        "    return 1",
        "x - y",
        "x \u2013 y",
        '"q"',
        "\u201cq\u201d",
        "n\u00a0b",
        "n b",
        "caf\u00e9",
    ]
)
TEXTS = st.lists(LINES, max_size=7)
ENDINGS = st.sampled_from(["\n", "\n", "\n", "\r\n"])
SEVERAL = st.integers(0, 9)


@st.composite
def contents(draw: st.DrawFn) -> bytes:
    """A file of few different lines; its last one may lack its end, and is not empty."""
    ending = draw(ENDINGS)
    lines = [*draw(TEXTS), draw(LINES.filter(bool))]
    return (ending.join(lines) + draw(st.sampled_from([ending, ending, ""]))).encode()


def kept_lines(content: bytes) -> list[str]:
    return content.decode().replace("\r\n", "\n").removesuffix("\n").split("\n")


@st.composite
def chunks(draw: st.DrawFn, content: bytes) -> str:
    """A chunk that mostly fits somewhere in the file."""
    lines = kept_lines(content)
    start = draw(st.integers(0, len(lines) - 1))
    end = draw(st.integers(start + 1, min(len(lines), start + 4)))
    body = "".join(f"{draw(st.sampled_from(' -  '))}{line}\n" for line in lines[start:end])
    body += "".join(f"+{line}\n" for line in draw(st.lists(LINES, max_size=2)))
    if draw(SEVERAL) == 0:
        body += f" {draw(LINES)}\n"
    context = draw(st.sampled_from([*lines[:start], *lines[:start], "no such line"])) if draw(SEVERAL) < 2 else None
    head = "@@\n" if context is None else f"@@ {context}\n"
    return head + body + ("*** End of File\n" if draw(SEVERAL) < 2 else "")


@st.composite
def hunks(draw: st.DrawFn, files: Files) -> str:
    name = draw(st.sampled_from([*files, *files, *files, "missing.txt"]))
    kind = draw(st.sampled_from(["add", "delete", *["update"] * 6, "move"]))
    if kind == "add":
        return f"*** Add File: {name}\n" + "".join(f"+{line}\n" for line in draw(TEXTS))
    if kind == "delete":
        return f"*** Delete File: {name}\n"
    destinations = {"moved.txt", "far/moved.txt", "two.txt"} - {name}
    destination = f"*** Move to: {draw(st.sampled_from(sorted(destinations)))}\n"
    parts = draw(st.lists(chunks(files.get(name, b"a\nb\n")), min_size=1, max_size=2))
    parts = [part for part in parts if "*** End" in part][:1] or parts
    return f"*** Update File: {name}\n" + (destination if kind == "move" else "") + "".join(parts)


@st.composite
def situations(draw: st.DrawFn) -> tuple[Files, str]:
    """Files, and a patch that mostly fits them."""
    names = draw(st.sets(st.sampled_from(["one.txt", "two.txt", "deep/three.txt"]), min_size=1, max_size=3))
    files = {name: draw(contents()) for name in sorted(names)}
    body = "".join(draw(st.lists(hunks(files), min_size=1, max_size=2)))
    begin, end = draw(
        st.sampled_from(
            [
                *[("*** Begin Patch\n", "*** End Patch")] * 9,
                ("  *** Begin Patch  \n", " *** End Patch\n\n"),
                ("<<'EOF'\n*** Begin Patch\n", "*** End Patch\nEOF\n"),
                ("*** Begin Patch\n", ""),
            ]
        )
    )
    return files, begin + body + end


def laid_out(folder: str, files: Files) -> Path:
    workspace = Path(folder)
    for name, content in files.items():
        (workspace / name).parent.mkdir(exist_ok=True)
        (workspace / name).write_bytes(content)
    return workspace


def by_theirs(workspace: Path, text: str) -> tuple[int, str, str]:
    command = [installed_program("codex"), "--codex-run-as-apply-patch", text]
    done = subprocess.run(command, cwd=workspace, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


def by_ours(workspace: Path, text: str) -> tuple[int, str, str]:
    stdout, stderr = (io.TextIOWrapper(io.BytesIO(), write_through=True) for _ in range(2))
    with contextlib.chdir(workspace), contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        code = main([text])
    return code, said(stdout), said(stderr)


def said(stream: io.TextIOWrapper) -> str:
    stream.seek(0)
    return stream.read()


def alike(name: str, theirs: Path, ours: Path) -> bool:
    """Whether a file is the same, apart from an empty last line that theirs takes away (see below)."""
    (their_mode, their_content), (our_mode, our_content) = (
        tree(theirs).get(name, ("", b"")),
        tree(ours).get(name, ("", b"")),
    )
    kept = our_content == their_content + b"\n" and their_content[-1:] in (b"", b"\n")
    return their_mode == our_mode and (our_content == their_content or kept)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(situations())
def test_any_patch_has_the_same_outcome(situation: tuple[Files, str]) -> None:
    files, text = situation
    with tempfile.TemporaryDirectory() as their_folder, tempfile.TemporaryDirectory() as our_folder:
        theirs, ours = laid_out(their_folder, files), laid_out(our_folder, files)
        their_code, their_words, _ = by_theirs(theirs, text)
        before = tree(ours)
        our_code, our_words, our_error = by_ours(ours, text)
        assert our_code == their_code, our_error
        if their_code == 0:
            assert not [name for name in tree(theirs) | tree(ours) if not alike(name, theirs, ours)]
            assert our_words == their_words
        else:
            # Theirs may have written the files before the one that failed; ours verifies all of them first.
            assert tree(ours) == before


KNOWN_DIFFERENCES = [
    # Theirs takes the file's last empty line away, whatever the patch is about.
    ("a file that ends in an empty line", b"a\nb\n\n", "@@\n-a\n+A\n", b"A\nb\n", b"A\nb\n\n"),
    # Theirs lets a chunk for the end of the file take lines that the one before has taken.
    (
        "chunks that overlap",
        b"a\na\na\n",
        "@@\n a\n-a\n@@\n a\n-a\n*** End of File\n",
        b"a\n",
        b"a\na\na\n",
    ),
    # Theirs writes the file, and then removes it.
    ("a move to its own name", b"a\n", "*** Move to: a.txt\n@@\n-a\n+A\n", None, b"A\n"),
    # Theirs refuses more than one line of context; models that were trained on other versions send it.
    ("two lines of context", b"c:\n f:\n  1\n", "@@ c:\n@@  f:\n-  1\n+  2\n", b"c:\n f:\n  1\n", b"c:\n f:\n  2\n"),
]


def test_a_moved_program_can_still_be_run_here_and_no_longer_there(tmp_path: Path) -> None:
    text = "*** Begin Patch\n*** Update File: a.sh\n*** Move to: b.sh\n@@\n-a\n+A\n*** End Patch"
    modes = []
    for folder, apply in (("theirs", by_theirs), ("ours", by_ours)):
        (tmp_path / folder).mkdir()
        workspace = laid_out(str(tmp_path / folder), {"a.sh": b"a\n"})
        (workspace / "a.sh").chmod(0o755)
        apply(workspace, text)
        modes.append((workspace / "b.sh").stat().st_mode & 0o777)
    assert modes == [0o644, 0o755]


@pytest.mark.parametrize(("name", "before", "chunk", "theirs", "ours"), KNOWN_DIFFERENCES)
def test_what_is_known_to_differ_still_does(
    tmp_path: Path, name: str, before: bytes, chunk: str, theirs: bytes | None, ours: bytes
) -> None:
    text = f"*** Begin Patch\n*** Update File: a.txt\n{chunk}*** End Patch"
    outcomes = []
    for folder, apply in (("theirs", by_theirs), ("ours", by_ours)):
        (tmp_path / folder).mkdir()
        apply(laid_out(str(tmp_path / folder), {"a.txt": before}), text)
        path = tmp_path / folder / "a.txt"
        outcomes.append(path.read_bytes() if path.exists() else None)
    assert outcomes == [theirs, ours], name
