"""A script with a mistake is refused with the line and the field."""

from pathlib import Path

import pytest

from codex_client.model_server.script import Garbage
from codex_client.model_server.script_file import ScriptError, parse_script, read_script


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "conversations:\n  - match: always\n    replies:\n      - text: hi\n        delay: 3\n",
            "s.yaml:5: conversations[0].replies[0].delay: Extra inputs are not permitted",
        ),
        (
            "conversations:\n  - match: always\n    replies:\n      - text: hi\n        delay_seconds: -1\n",
            "s.yaml:5: conversations[0].replies[0].delay_seconds: Input should be greater than or equal to 0",
        ),
        (
            "conversations:\n  - match: {regex: '('}\n    replies: [{text: a}]\n",
            "s.yaml:2: conversations[0].match.regex: is no regular expression",
        ),
        (
            "conversations:\n  - replies: [{text: a}]\n",
            "s.yaml:2: conversations[0].match: Field required",
        ),
        (
            "conversations:\n  - match: {}\n    replies: [{text: a}]\n",
            "s.yaml:2: conversations[0].match: is empty; write 'always'",
        ),
        (
            "conversations:\n  - match: always\n    replies:\n    - {}\n",
            "s.yaml:4: conversations[0].replies[0]: needs one of text, reasoning, calls, fail",
        ),
        (
            "conversations:\n  - match: always\n    replies:\n    - fail: {status: 500, incomplete: content_filter}\n",
            "s.yaml:4: conversations[0].replies[0].fail: needs exactly one of status, after_events",
        ),
        (
            "conversations:\n  - match: always\n    replies:\n    - fail:\n      - status: 500\n      - status: 429\n",
            "s.yaml:4: conversations[0].replies[0]: every fault but the last needs times",
        ),
        (
            "conversations:\n  - match: always\n    replies:\n    - calls: [{name: a, arguments: [1]}]\n",
            "s.yaml:4: conversations[0].replies[0].calls[0].arguments: must be a mapping, or a string",
        ),
        (
            "conversations:\n  - match: always\n    match: x\n    replies: [{text: a}]\n",
            "s.yaml:3: match: is given twice",
        ),
        ("- a\n", "s.yaml:1: the script must be a mapping with the key conversations"),
        ("", "s.yaml:1: the script must be a mapping"),
        ("conversations: [\n", "line 2, column 1"),
        ("conversations: !!python/object:os.system {}\n", "could not determine a constructor"),
    ],
)
def test_a_mistake_is_named_with_line_and_field(text: str, said: str) -> None:
    with pytest.raises(ScriptError) as caught:
        parse_script(text, "s.yaml")
    assert said in str(caught.value)


def test_every_mistake_is_named_at_once() -> None:
    text = "conversations:\n- match: always\n  replies:\n  - text: a\n    x: 1\n  - text: b\n    y: 2\n"
    with pytest.raises(ScriptError) as caught:
        parse_script(text, "s.yaml")
    assert [line.split(": ")[0] for line in str(caught.value).splitlines()] == ["s.yaml:5", "s.yaml:7"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ScriptError, match=r"absent\.yaml: cannot be read"):
        read_script(tmp_path / "absent.yaml")


def test_short_forms_mean_the_long_ones() -> None:
    script = parse_script(
        "conversations:\n"
        "  - match: fix it\n    replies: [{text: a, fail: {garbage: true}}]\n"
        "  - match: always\n    replies: [{text: b}]\n"
    )
    first, second = script.conversations
    assert (first.match.prompt, second.match.prompt) == ("fix it", None)
    assert [fault.garbage for fault in first.replies[0].fail] == [Garbage.HTML]
