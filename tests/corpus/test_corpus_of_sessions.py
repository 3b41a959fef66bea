"""Each session of the corpus comes out the same straight through, with its workers replaced, and with Temporal lost."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Expected, Outcome, ReadSession, Replay

pytestmark = pytest.mark.temporal

NAMES = sorted(path.stem for path in (Path(__file__).parent / "sessions").glob("*.yaml"))


@pytest.mark.parametrize("name", NAMES)
async def test_a_session_comes_out_as_it_is_written_down(replay: Replay, read_session: ReadSession, name: str) -> None:
    outcome = await replay(name, "straight")
    script = read_session(name)
    assert_as_written(outcome, script.expected)
    assert len(outcome.requests) == script.expected.requests
    assert outcome.retries == script.expected.retries


@pytest.mark.parametrize("way", ["new-workers", "temporal-lost"])
@pytest.mark.parametrize("name", NAMES)
async def test_a_session_that_is_disturbed_comes_out_the_same(
    replay: Replay, read_session: ReadSession, name: str, way: str
) -> None:
    straight = await replay(name, "straight")
    outcome = await replay(name, way)
    script = read_session(name)
    assert outcome.disturbances == len(script.disturbed_at(way)) > 0
    assert_as_written(outcome, script.expected)
    assert outcome.conversation == straight.conversation
    assert outcome.files == straight.files
    assert outcome.intents == straight.intents
    assert questions(outcome) == questions(straight), "nothing but the same is asked of the model, however often"


def assert_as_written(outcome: Outcome, expected: Expected) -> None:
    ends = [event for event in outcome.events if event["type"] in ("TurnComplete", "TurnAborted", "TurnFailed")]
    for end, wanted in zip(ends, expected.ends, strict=True):
        assert (end["type"], end.get("reason")) == (wanted.type, wanted.reason)
        assert_found(wanted.says, end.get("last_agent_message", ""))
    assert [event["type"] for event in outcome.events] == expected.events
    assert outcome.texts() == expected.files
    assert outcome.compactions == expected.compactions
    assert_results(outcome, expected)
    assert set(outcome.intents.values()) <= {1}, "a command is never run twice"
    assert_each_request_begins_with_the_one_before(outcome.requests)
    assert_in_order(expected.told, told(outcome.requests[-1]))
    if "output_schema" in outcome.settings:
        formats = [request["text"]["format"] for request in outcome.requests]
        assert all(sent["strict"] and sent["schema"] == outcome.settings["output_schema"] for sent in formats)


def assert_results(outcome: Outcome, expected: Expected) -> None:
    outputs = [result["item"]["output"] for result in outcome.results]
    for output, pattern in zip(outputs, expected.outputs, strict=True):
        assert_found(pattern, output if isinstance(output, str) else json.dumps(output))
    outcomes = expected.outcomes or ["completed"] * len(outputs)
    for result, pattern in zip(outcome.results, outcomes, strict=True):
        assert re.fullmatch(pattern, result["outcome"]), f"{result} should be {pattern}"
    if expected.exit_codes is not None:
        assert [result["exit_code"] for result in outcome.results] == expected.exit_codes
    changes = [change for result in outcome.results for change in result["changes"]]
    assert [written_change(change) for change in changes] == expected.changes
    diffs = [event["unified_diff"] for event in outcome.events if event["type"] == "TurnDiff"]
    for pattern in expected.diff:
        assert_found(pattern, diffs[-1])


def assert_each_request_begins_with_the_one_before(requests: list[dict[str, Any]]) -> None:
    before: list[str] = []
    for request in requests:
        items = [json.dumps(item) for item in request["input"]]
        assert items[: len(before)] == before
        # Without tools it asks for a summary, which takes the place of all that was sent.
        before = items if "tools" in request else []


def assert_in_order(patterns: list[str], texts: list[str]) -> None:
    rest = iter(texts)
    for pattern in patterns:
        assert any(re.search(pattern, text, re.DOTALL) for text in rest), f"{pattern!r} is not next in {texts}"


def assert_found(pattern: str, text: str) -> None:
    assert re.search(pattern, text, re.DOTALL), f"{pattern!r} is not in {text!r}"


def written_change(change: dict[str, Any]) -> str:
    moved = f" to {change['move_path']}" if change["move_path"] else ""
    return f"{change['kind']} {change['path']}{moved}"


def told(request: dict[str, Any]) -> list[str]:
    return [item["content"][0]["text"] for item in request["input"] if item.get("role") in ("user", "developer")]


def questions(outcome: Outcome) -> int:
    """Count the requests that differ."""
    return len({json.dumps([request["input"], "tools" in request]) for request in outcome.requests})
