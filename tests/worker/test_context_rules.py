"""What of a session's surroundings is told, and when it is told again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_api.rows import ContextPayload, SandboxMode, SessionSettings
from codex_api.session import ApprovalPolicy, NetworkMode
from codex_worker.context import Documents, context_changes, network_restricted

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SETTINGS = SessionSettings()


class Told:
    """A conversation that is told of its surroundings."""

    def __init__(self) -> None:
        self.states: dict[str, str] = {}
        self.newest: dict[str, ContextPayload] = {}

    def tell(self, documents: Documents | None = None, now: datetime = NOW, **settings: Any) -> list[tuple[str, str]]:
        changes = context_changes(SETTINGS.model_copy(update=settings), now, documents, self.states, self.newest)
        self.newest |= {change.part: change for change in changes}
        self.states |= {change.part: change.state for change in changes}
        return [(change.part, change.item["content"][0]["text"]) for change in changes]

    def compact(self) -> None:
        self.states = {}


def documents(*texts: str) -> Documents:
    return Documents(tuple((f"/w/{'x/' * number}AGENTS.md", text) for number, text in enumerate(texts)))


def test_nothing_is_told_twice() -> None:
    told = Told()
    assert [part for part, _ in told.tell(documents("Be kind."))] == ["permissions", "documents", "environment"]
    assert told.tell(documents("Be kind.")) == []
    assert told.tell(None) == []


def test_of_the_environment_only_what_changed_is_told() -> None:
    told = Told()
    told.tell()
    ((part, text),) = told.tell(now=NOW + timedelta(days=1))
    assert part == "environment"
    assert text == "<environment_context>\n  <current_date>2026-03-02</current_date>\n</environment_context>"


def test_after_a_compaction_everything_is_told_anew_also_what_cannot_be_read_now() -> None:
    told = Told()
    told.tell(documents("Outer.", "Inner."))
    told.compact()
    parts = told.tell(None)
    assert [part for part, _ in parts] == ["permissions", "documents", "environment"]
    assert "Outer." in parts[1][1]
    assert "<cwd>" in parts[2][1]


def test_documents_that_are_gone_are_said_to_be_gone_once() -> None:
    told = Told()
    told.tell(documents("Be kind."))
    assert "no longer hold" in told.tell(documents())[0][1]
    assert told.tell(documents()) == []
    told.compact()
    assert [part for part, _ in told.tell(None)] == ["permissions", "environment"]


def test_the_innermost_document_stands_last_and_each_names_its_folder() -> None:
    text = dict(Told().tell(documents("Outer.", "Inner.")))["documents"]
    assert text.index("# AGENTS.md instructions for /w\n") < text.index("Outer.") < text.index("Inner.")
    assert "# AGENTS.md instructions for /w/x\n" in text


def test_cut_documents_are_said_to_be_cut() -> None:
    assert "were cut" in dict(Told().tell(Documents((("/w/AGENTS.md", "x"),), truncated=True)))["documents"]


@pytest.mark.parametrize("mode", SandboxMode)
@pytest.mark.parametrize("policy", ApprovalPolicy)
def test_every_mode_and_policy_has_its_words(mode: SandboxMode, policy: ApprovalPolicy) -> None:
    text = dict(Told().tell(sandbox_mode=mode, approval_policy=policy, workspace="/some{where}"))["permissions"]
    assert "/some{where}" in text
    assert f"`{mode.value}`" in text
    assert "{workspace}" not in text


def test_the_network_is_what_the_sandbox_leaves() -> None:
    assert network_restricted(SETTINGS)
    assert not network_restricted(SETTINGS.model_copy(update={"network_mode": NetworkMode.INTERNET}))
    assert not network_restricted(SETTINGS.model_copy(update={"sandbox_mode": SandboxMode.NONE}))


def test_a_time_zone_is_named_and_a_directory_cannot_break_the_markup() -> None:
    local = NOW.astimezone(timezone(timedelta(hours=2), "EET"))
    text = dict(Told().tell(now=local, workspace="/a<b>&c"))["environment"]
    assert "<timezone>EET</timezone>" in text
    assert "<cwd>/a&lt;b&gt;&amp;c</cwd>" in text


@given(st.lists(st.none() | st.lists(st.sampled_from("ab"), max_size=2), max_size=12))
def test_what_was_told_last_is_what_holds(history: list[list[str] | None]) -> None:
    told, last, holds = Told(), "", []
    for texts in history:
        found = None if texts is None else documents(*texts)
        last = dict(told.tell(found)).get("documents", last)
        holds = holds if texts is None else texts
    assert all(f"<INSTRUCTIONS>\n{text}\n" in last for text in holds)
    assert holds or not last or "no longer hold" in last
