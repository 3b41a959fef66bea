"""The agent's last message in a status: its beginning for people, the whole JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_api.rows import RowKind
from codex_api.session import SessionStatus
from codex_journal.errors import JournalUnavailable
from codex_journal.journal import Journal
from codex_journal.rows import NewRow, Row
from codex_operator.last_message import (
    JSON_BYTES,
    LastMessage,
    beginning,
    compact_json,
    last_message,
    message_text,
    newest_end_with_message,
)
from codex_operator.settings import Settings
from codex_operator.status import STATUS_BYTES, bounded, size
from codex_operator.testing import ClusterUser, RunningOperator, eventually

SCHEMA = {"type": "object", "additionalProperties": False, "required": ["text"], "properties": {"text": {}}}
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
)


@given(json_values, st.none() | st.integers(0, 3), st.booleans())
def test_whatever_json_the_agent_says_a_program_reads_the_same(
    value: Any, indent: int | None, ascii_only: bool
) -> None:
    compact = compact_json(json.dumps(value, indent=indent, ensure_ascii=ascii_only))
    assert compact is not None
    assert json.loads(compact) == value
    assert compact.isascii()
    assert compact.isprintable()
    assert compact == compact_json(compact)


@given(json_values)
def test_json_on_many_lines_becomes_what_a_compact_writer_makes_of_it(value: Any) -> None:
    assert compact_json(json.dumps(value, indent=2)) == json.dumps(value, separators=(",", ":"))


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ('{ "price": 1.10, "id": 12345678901234567890.5 }', '{"price":1.10,"id":12345678901234567890.5}'),
        (f"[{'9' * 5000}]", f"[{'9' * 5000}]"),
        ('{"a": 1, "a": 2}', '{"a":1,"a":2}'),
        ('["a  \\" b", "\u202e\x7f\U0001f600"]', '["a  \\" b","\\u202e\\u007f\\ud83d\\ude00"]'),
    ],
)
def test_numbers_and_strings_stay_as_they_were_written(said: str, shown: str) -> None:
    assert compact_json(said) == shown


@pytest.mark.parametrize("text", ["", "I cannot.", "[NaN]", "[1,]", '["a\nb"]', "[" * 100_000, "{} {}"])
def test_what_is_no_json_is_shown_as_to_people(text: str) -> None:
    assert compact_json(text) is None
    assert last_message(text, structured=True) == beginning(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Done.", LastMessage("Done.", False)),
        ("x" * 1000, LastMessage("x" * 1000, False)),
        ("x" * 1001, LastMessage("x" * 1000, True)),
        ("\u202e", LastMessage("\\u202e", False)),
    ],
)
def test_a_beginning_says_whether_it_is_all(text: str, shown: LastMessage) -> None:
    assert last_message(text, structured=False) == beginning(text) == shown
    wide = beginning("é" * 900)
    assert (wide.text[-1], wide.truncated, len(wide.text.encode()) <= 1024) == ("…", True, True)


def test_json_is_whole_up_to_its_limit_and_cut_beyond_it() -> None:
    fits = json.dumps({"text": "x" * (JSON_BYTES - len('{"text":""}'))})
    assert last_message(fits, structured=True) == LastMessage(fits.replace(": ", ":"), False)
    longer = fits.replace("xx", "xxx", 1)
    assert last_message(longer, structured=True) == LastMessage(longer[:1000], True)
    # Counted as it is shown: each of these takes six bytes.
    assert last_message(json.dumps(["é" * 3000], ensure_ascii=False), structured=True).truncated


def test_a_status_that_is_too_large_keeps_the_beginning_of_a_long_message() -> None:
    message = json.dumps(['"' * (JSON_BYTES // 2)])
    status = SessionStatus(last_message=message, last_message_truncated=False)
    assert bounded(status)["lastMessage"] == message
    full = status.model_copy(update={"last_message": message * 3})
    document = bounded(full)
    assert size(document) <= STATUS_BYTES
    assert (document["lastMessage"][:1000], document["lastMessageTruncated"]) == (message[:1000], True)


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"item": "x"},
        {"item": {"type": "message", "role": "user", "content": [{"type": "output_text", "text": "x"}]}},
        {"item": {"type": "message", "role": "assistant", "content": ["x", {"type": "refusal", "refusal": "x"}]}},
    ],
)
def test_only_what_the_agent_said_is_its_message(payload: dict[str, Any]) -> None:
    assert message_text(payload) == ""


def test_an_end_without_a_message_takes_nothing_back() -> None:
    def row(seq: int, **payload: Any) -> Row:
        return Row("uid", seq, 1, 1, 0, RowKind.EVENT, f"c{seq}", 0, payload, datetime.now(UTC))

    said = {"type": "TurnComplete", "last_agent_message": "Done.", "message_seq": 3}
    silent = {"type": "TurnComplete", "last_agent_message": "", "message_seq": 0}
    assert newest_end_with_message([row(1, **said), row(2, **silent), row(3, type="TurnAborted")]) == said
    assert newest_end_with_message([row(1, **{**said, "message_seq": 0}), row(2, type="TurnComplete")]) is None


Answer = Callable[[str, int, str], Awaitable[None]]


@pytest.fixture
def answer(journal: Journal) -> Answer:
    """Journals a turn that ends with a message, as a worker does."""

    async def answer(uid: str, turn: int, text: str) -> None:
        item = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}
        said = await journal.append(uid, f"t{turn}/said", [NewRow(RowKind.ITEM, {"item": item}, turn, 1)])
        seq = said.rows[0].seq
        end = {"type": "TurnComplete", "turn": turn, "last_agent_message": text[:1000], "message_seq": seq}
        await journal.end_turn(uid, turn, lambda _: [NewRow(RowKind.EVENT, end, turn, 1)])

    return answer


@pytest.mark.apiserver
@pytest.mark.temporal
async def test_a_program_reads_its_answer_from_the_status_also_after_a_restart(
    user: ClusterUser, settings: Settings, journal: Journal, answer: Answer
) -> None:
    value = {"text": "größer \u202e\x1b " + "x" * 9000}
    async with RunningOperator(settings):
        program = await user.create_session("program", outputSchema=SCHEMA)
        person = await user.create_session("person")
        for name in ("program", "person"):
            await eventually(lambda name=name: user.status(name), lambda s: "workflow" in s)  # type: ignore[misc]
        for uid in (program, person):
            await answer(uid, 1, json.dumps(value, ensure_ascii=False, indent=2))
        status = await eventually(lambda: user.status("program"), lambda s: "lastMessage" in s)
        assert json.loads(status["lastMessage"]) == value
        assert (status["lastMessage"].isascii(), status["lastMessageTruncated"]) == (True, False)
        status = await eventually(lambda: user.status("person"), lambda s: "lastMessage" in s)
        assert (len(status["lastMessage"].encode()) <= 1024, status["lastMessageTruncated"]) == (True, True)
    await answer(program, 2, json.dumps({"text": "y" * JSON_BYTES}))
    await answer(person, 2, "z" * 1000)
    async with RunningOperator(settings):
        status = await eventually(lambda: user.status("program"), lambda s: "y" in s["lastMessage"])
        assert (len(status["lastMessage"]), status["lastMessageTruncated"]) == (1000, True)
        status = await eventually(lambda: user.status("person"), lambda s: "z" in s["lastMessage"])
        assert (status["lastMessage"], status["lastMessageTruncated"]) == ("z" * 1000, False)


@pytest.mark.apiserver
@pytest.mark.temporal
async def test_an_answer_that_could_not_be_read_is_never_shown_as_if_it_were_all(
    user: ClusterUser, settings: Settings, journal: Journal, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures, read = 3, Journal.read

    async def sometimes(self: Journal, session: str, **selection: Any) -> list[Row]:
        nonlocal failures
        if selection.get("kinds") == [RowKind.ITEM] and failures:
            failures -= 1
            raise JournalUnavailable("the connection was lost")
        return await read(self, session, **selection)

    async with RunningOperator(settings):
        uid = await user.create_session("x", outputSchema=SCHEMA)
        await eventually(lambda: user.status("x"), lambda s: "workflow" in s)
        monkeypatch.setattr(Journal, "read", sometimes)
        await answer(uid, 1, json.dumps({"text": "x" * 5000}, indent=1))
        status = await eventually(lambda: user.status("x"), lambda s: "lastMessage" in s)
    assert (failures, json.loads(status["lastMessage"])) == (0, {"text": "x" * 5000})
    assert [event["type"] for event in status["events"]] == ["TurnComplete"]
