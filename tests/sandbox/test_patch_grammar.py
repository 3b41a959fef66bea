"""The text of a patch, read and refused."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_sandbox.patch.grammar import (
    AddFile,
    Chunk,
    DeleteFile,
    InvalidPatch,
    Patch,
    UpdateFile,
    parse_patch,
)

HEADERS = "Valid hunk headers: '*** Add File: {path}', '*** Delete File: {path}', '*** Update File: {path}'"


def enveloped(*lines: str) -> str:
    return "\n".join(["*** Begin Patch", *lines, "*** End Patch", ""])


def updated(*lines: str) -> tuple[Chunk, ...]:
    (hunk,) = parse_patch(enveloped("*** Update File: f", *lines)).hunks
    assert isinstance(hunk, UpdateFile)
    return hunk.chunks


def rendered(patch: Patch) -> str:
    lines = []
    for hunk in patch.hunks:
        if isinstance(hunk, AddFile):
            lines += [f"*** Add File: {hunk.path}", *(f"+{line}" for line in hunk.content.split("\n")[:-1])]
        elif isinstance(hunk, DeleteFile):
            lines.append(f"*** Delete File: {hunk.path}")
        else:
            lines.append(f"*** Update File: {hunk.path}")
            lines += [] if hunk.move_to is None else [f"*** Move to: {hunk.move_to}"]
            for chunk in hunk.chunks:
                lines += [f"@@ {context}" for context in chunk.contexts] or ["@@"]
                lines += [f"-{line}" for line in chunk.old] + [f"+{line}" for line in chunk.new]
                lines += ["*** End of File"] if chunk.end_of_file else []
    return enveloped(*lines)


line_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r"), max_size=12)
paths = line_texts.map(str.strip).filter(lambda path: path and "\0" not in path)
added = st.builds(AddFile, paths, st.lists(line_texts).map(lambda lines: "".join(f"{line}\n" for line in lines)))
chunk_lines = st.lists(line_texts, max_size=4).map(tuple)
contexts = st.lists(line_texts.map(str.rstrip).filter(bool), max_size=3).map(tuple)
chunks = st.builds(Chunk, contexts, chunk_lines, chunk_lines, st.booleans()).filter(
    lambda chunk: chunk.old or chunk.new
)
update = st.builds(UpdateFile, paths, st.none() | paths, st.lists(chunks, min_size=1, max_size=3).map(tuple))
patches = st.builds(Patch, st.lists(added | st.builds(DeleteFile, paths) | update, max_size=4).map(tuple))
markers = [
    "*** Begin Patch",
    "*** End Patch",
    "*** Add File: a",
    "*** Delete File: a",
    "*** Update File: a",
    "@@",
    "@@ x",
]
others = ["*** Move to: b", "*** End of File", "*** Environment ID: x", "<<EOF", "EOF", "", " ", "+a", "-a", " a", "\r"]
marker_lines = st.sampled_from([*markers, *others])


@given(patches)
def test_a_rendered_patch_is_read_back_as_it_was(patch: Patch) -> None:
    assert parse_patch(rendered(patch)) == patch


@given(patches)
def test_a_patch_with_windows_line_ends_means_the_same(patch: Patch) -> None:
    assert parse_patch(rendered(patch).replace("\n", "\r\n")) == patch


@given(patches, st.sampled_from(["<<EOF", "<<'EOF'", '<<"EOF"']))
def test_a_heredoc_around_a_patch_is_taken_off(patch: Patch, start: str) -> None:
    assert parse_patch(f"{start}\n{rendered(patch)}EOF\n") == patch


@given(st.text() | st.lists(marker_lines | st.text(max_size=8)).map("\n".join))
def test_garbage_raises_nothing_but_invalid_patch(text: str) -> None:
    for candidate in (text, enveloped(text)):
        with contextlib.suppress(InvalidPatch):
            assert "\0" not in "".join(parse_patch(candidate).paths())


def test_all_paths_are_named_once_with_the_targets_of_moves() -> None:
    text = enveloped(
        *("*** Add File: a", "+1", "*** Update File: b", "*** Move to: c/d", "@@", "-1", "+2"),
        *("*** Delete File: e", "*** Update File: a", "@@", "-1", "+2"),
    )
    assert parse_patch(text).paths() == ("a", "b", "c/d", "e")


def test_the_environment_line_and_padded_markers_are_accepted() -> None:
    text = "  *** Begin Patch \n *** Environment ID: x\n  *** Add File: n  \n+a\n  *** Delete File: m\n *** End Patch "
    assert parse_patch(text).hunks == (AddFile("n", "a\n"), DeleteFile("m"))


def test_an_added_file_may_be_empty() -> None:
    assert parse_patch(enveloped("*** Add File: n")).hunks == (AddFile("n", ""),)


def test_the_first_chunk_needs_no_marker_and_empty_lines_are_context() -> None:
    assert updated("-a", "+b", "", "@@ x", " c", "-d") == (
        Chunk((), ("a", ""), ("b", "")),
        Chunk(("x",), ("c", "d"), ("c",)),
    )


def test_nested_context_lines_narrow_the_place_down() -> None:
    assert updated("@@ class A", "@@   def f", "-x") == (Chunk(("class A", "  def f"), ("x",), ()),)


def test_a_padded_header_inside_an_update_is_content() -> None:
    assert updated("@@", "-x", " *** Add File: m") == (Chunk((), ("x", "*** Add File: m"), ("*** Add File: m",)),)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "invalid patch: The last line of the patch must be '*** End Patch'"),
        ("hello", "invalid patch: The first line of the patch must be '*** Begin Patch'"),
        ("*** Begin Patch\n+a", "invalid patch: The last line of the patch must be '*** End Patch'"),
        ("<<'PATCH'\n" + enveloped() + "PATCH", "invalid patch: The first line of the patch must be '*** Begin Patch'"),
        (enveloped("*** Add File: n", "*** End Patch", "x"), "invalid patch: The last line of the patch must be"),
        (enveloped("*** Environment ID: "), "invalid patch: apply_patch environment_id cannot be empty"),
        (enveloped("x"), f"invalid hunk at line 2, 'x' is not a valid hunk header. {HEADERS}"),
        (enveloped("*** Add File: n", "+a", "", "+b"), "invalid hunk at line 4, '' is not a valid hunk header."),
        (enveloped("*** Add File: "), "invalid hunk at line 2, '*** Add File:' is not a valid hunk header."),
        (enveloped("*** Add File: a\0b"), "invalid hunk at line 2, a path contains a null byte"),
        (enveloped("*** Update File: n"), "invalid hunk at line 2, Update file hunk for path 'n' is empty"),
        (enveloped("*** Update File: n", "*** Move to: m"), "line 2, Update file hunk for path 'n' is empty"),
        (enveloped("*** Update File: n", "@@"), "invalid hunk at line 4, Update hunk does not contain any lines"),
        (enveloped("*** Update File: n", "@@", "*** End of File"), "line 4, Update hunk does not contain any lines"),
        (enveloped("*** Update File: n", "@@", "foo"), "line 4, Unexpected line found in update hunk: 'foo'. Every"),
        (enveloped("*** Update File: n", "@@x", "-a"), "line 3, Unexpected line found in update hunk: '@@x'. Every"),
        (enveloped("*** Update File: n", "@@", "*** Add File: m"), "line 4, Unexpected line found in update hunk"),
        (
            enveloped("*** Update File: n", "-a", "foo"),
            "line 4, Expected update hunk to start with a @@ context marker",
        ),
        (enveloped("*** Update File: n", "-a", "*** End of File", "-b"), "line 5, Expected update hunk to start with"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, complaint: str) -> None:
    with pytest.raises(InvalidPatch) as refused:
        parse_patch(text)
    assert complaint in str(refused.value)
