from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from codex_sandbox.digest import canonical_json, command_digest, environment_hash, write_digest

text = st.text(max_size=6)
commands = st.tuples(
    st.lists(text, max_size=4),
    text,
    st.none() | text,
    st.dictionaries(text, text, max_size=3),
    st.booleans(),
)
Command = tuple[list[str], str, str | None, dict[str, str], bool]


def test_the_digest_of_a_known_command_never_changes() -> None:
    digest = command_digest(["ls", "-l"], "/workspace", None, {"LANG": "C"}, False)
    assert digest == "sha256:a52ecdcb1e2aa41bcf3d61d44854b0a87082c834b344240242868775e1a1fb4f"
    assert canonical_json({"b": "é", "a": [None, True]}) == b'{"a":[null,true],"b":"\\u00e9"}'


@given(commands, commands)
def test_different_commands_have_different_digests(one: Command, other: Command) -> None:
    assert (one == other) == (command_digest(*one) == command_digest(*other))


@given(st.lists(text, min_size=2, max_size=4), st.data())
def test_moving_text_between_arguments_changes_the_digest(argv: list[str], data: Any) -> None:
    joined = [argv[0] + argv[1], *argv[2:]]
    cut = data.draw(st.integers(0, len(joined[0])))
    moved = [joined[0][:cut], joined[0][cut:], *argv[2:]]
    same = moved == argv
    assert same == (command_digest(moved, ".", None, {}, False) == command_digest(argv, ".", None, {}, False))


def test_the_order_of_the_environment_does_not_matter() -> None:
    assert command_digest(["x"], ".", None, {"A": "1", "B": "2"}, False) == command_digest(
        ["x"], ".", None, {"B": "2", "A": "1"}, False
    )


def test_no_input_and_empty_input_are_different_commands() -> None:
    assert command_digest(["cat"], ".", None, {}, False) != command_digest(["cat"], ".", "", {}, False)


@given(st.integers(0, 99), text, st.integers(0, 99), text)
def test_different_writes_have_different_digests(process: int, sent: str, other: int, other_sent: str) -> None:
    same = (process, sent) == (other, other_sent)
    assert same == (write_digest(process, sent) == write_digest(other, other_sent))


def test_undecodable_names_in_the_environment_can_be_hashed() -> None:
    assert environment_hash({"A": "\udcff"}) != environment_hash({"A": "\udcfe"})
