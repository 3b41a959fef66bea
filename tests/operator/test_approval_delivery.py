"""Decisions on their way from an annotation to the workflow: none lost, none repeated."""

from __future__ import annotations

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from codex_api import names
from codex_api.approvals import Decision, DecisionKind
from codex_api.rows import Delivery, MessagePayload, RowKind
from codex_journal.journal import Journal
from codex_journal.rows import NewRow
from codex_operator.settings import Settings
from codex_operator.testing import APPROVAL_ID, ClusterUser, RunningOperator, acknowledge, ask, eventually

pytestmark = [pytest.mark.apiserver, pytest.mark.temporal]

QUESTION = {"tool": "request_user_input", "preview": "Which one? (1) Left"}


class Signals:
    """Reads the signals that a session's workflow got, from its history."""

    def __init__(self, temporal: Client, user: ClusterUser, name: str) -> None:
        self._temporal, self._user, self._name = temporal, user, name

    async def __call__(self) -> list[str]:
        workflow = (await self._user.status(self._name)).get("workflow")
        if workflow is None:
            return []
        history = await self._temporal.get_workflow_handle(workflow["id"]).fetch_history()
        return [
            event.workflow_execution_signaled_event_attributes.signal_name
            for event in history.events
            if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED
        ]


@pytest.fixture
def signals(temporal: Client, user: ClusterUser) -> Signals:
    return Signals(temporal, user, "x")


async def test_an_annotation_becomes_a_decision_and_one_signal(
    user: ClusterUser, settings: Settings, journal: Journal, signals: Signals
) -> None:
    async with RunningOperator(settings):
        uid = await user.create_session("x")
        await eventually(lambda: journal.session(uid), bool)
        await ask(journal, uid)
        await eventually(lambda: user.status("x"), lambda s: s.get("pendingApprovals"))
        await user.decide("x", APPROVAL_ID, "approve")
        assert await eventually(signals, bool) == [names.SIGNAL_APPROVAL]
    standing, _ = (await journal.decisions(uid))[APPROVAL_ID]
    assert standing == Decision(APPROVAL_ID, DecisionKind.APPROVE, "", "alice")


async def test_an_answer_is_journaled_with_its_words_and_signalled_like_any_decision(
    user: ClusterUser, settings: Settings, journal: Journal, signals: Signals
) -> None:
    async with RunningOperator(settings):
        uid = await user.create_session("x")
        await eventually(lambda: journal.session(uid), bool)
        await ask(journal, uid, **QUESTION)
        status = await eventually(lambda: user.status("x"), lambda s: s.get("pendingApprovals"))
        (pending,) = status["pendingApprovals"]
        assert (pending["kind"], pending["command"]) == ("Question", "Which one? (1) Left")
        await user.decide("x", APPROVAL_ID, "answer: The left one,\nplease.")
        assert await eventually(signals, bool) == [names.SIGNAL_APPROVAL]
    standing, _ = (await journal.decisions(uid))[APPROVAL_ID]
    assert standing == Decision(APPROVAL_ID, DecisionKind.ANSWER, "The left one,\nplease.", "alice")


async def test_the_same_state_seen_again_and_again_is_delivered_once(
    user: ClusterUser, settings: Settings, journal: Journal, signals: Signals
) -> None:
    async with RunningOperator(settings, full_pass_seconds=0.1):
        uid = await user.create_session("x")
        await eventually(lambda: journal.session(uid), bool)
        await ask(journal, uid)
        await user.decide("x", APPROVAL_ID, "deny: not now")
        await eventually(signals, bool)
        for number in range(5):
            await user.patch_session("x", {"metadata": {"labels": {"n": str(number)}}})
            await user.patch_session("x", {"metadata": {"annotations": {"n": str(number)}}})
        await acknowledge(journal, uid)
        await eventually(lambda: user.status("x"), lambda s: s["events"][-1]["type"] == "ApprovalDecided")
        assert await signals() == [names.SIGNAL_APPROVAL]


async def test_what_was_annotated_while_the_operator_was_down_is_delivered_by_the_next_one(
    user: ClusterUser, settings: Settings, journal: Journal, signals: Signals
) -> None:
    async with RunningOperator(settings):
        uid = await user.create_session("x")
        await eventually(lambda: user.status("x"), lambda s: "workflow" in s)
        await ask(journal, uid)
    await user.decide("x", APPROVAL_ID, "abort")
    async with RunningOperator(settings):
        assert await eventually(signals, bool) == [names.SIGNAL_APPROVAL]
    assert (await journal.decisions(uid))[APPROVAL_ID][0].kind is DecisionKind.ABORT


async def test_an_operator_that_dies_between_journal_and_signal_loses_nothing(
    user: ClusterUser, settings: Settings, journal: Journal, signals: Signals
) -> None:
    async with RunningOperator(settings):
        uid = await user.create_session("x")
        await eventually(lambda: user.status("x"), lambda s: "workflow" in s)
        await ask(journal, uid)
    # It had journaled the decision when it died, and the annotation was removed since.
    await journal.decide(uid, Decision(APPROVAL_ID, DecisionKind.APPROVE, "", "alice"))
    async with RunningOperator(settings):
        assert await eventually(signals, bool) == [names.SIGNAL_APPROVAL]


async def test_an_acknowledged_decision_is_not_repeated_after_a_restart(
    user: ClusterUser, settings: Settings, journal: Journal, signals: Signals
) -> None:
    async with RunningOperator(settings):
        uid = await user.create_session("x")
        await eventually(lambda: user.status("x"), lambda s: "workflow" in s)
        await ask(journal, uid)
        await user.decide("x", APPROVAL_ID, "approve")
        await eventually(signals, bool)
        await acknowledge(journal, uid)
    async with RunningOperator(settings, full_pass_seconds=0.1):
        await ask(journal, uid, "t1-c1-second")
        await user.decide("x", "t1-c1-second", "approve")
        await eventually(lambda: journal.decisions(uid, ["t1-c1-second"]), bool)
        assert await eventually(signals, lambda s: len(s) > 1) == [names.SIGNAL_APPROVAL] * 2


async def test_a_message_reaches_a_run_that_another_operator_began(
    user: ClusterUser, settings: Settings, journal: Journal, signals: Signals
) -> None:
    async with RunningOperator(settings):
        uid = await user.create_session("x")
        await eventually(lambda: user.status("x"), lambda s: "workflow" in s)
    message = MessagePayload(key="second", text="And then?", delivery=Delivery.QUEUE)
    await journal.append(uid, "message/second", [NewRow(RowKind.MESSAGE, message.model_dump(mode="json"))])
    async with RunningOperator(settings):
        # The run read the prompt when it began.
        assert await eventually(signals, bool) == [names.SIGNAL_USER_TURN]


async def test_acknowledged_decisions_are_pruned_and_others_are_kept(
    user: ClusterUser, settings: Settings, journal: Journal
) -> None:
    other = "t1-c1-second"

    async def annotations() -> set[str]:
        return set((await user.session("x"))["metadata"].get("annotations") or {})

    async with RunningOperator(settings, full_pass_seconds=0.1):
        uid = await user.create_session("x")
        await eventually(lambda: journal.session(uid), bool)
        await ask(journal, uid)
        await ask(journal, uid, other)
        await user.patch_session("x", {"metadata": {"annotations": {"note": "mine"}}})
        await user.decide("x", APPROVAL_ID, "approve")
        await user.decide("x", other, "approve")
        await eventually(lambda: journal.decisions(uid), lambda decided: len(decided) == 2)
        assert f"approval.codex-temporal.dev/{APPROVAL_ID}" in await annotations()
        await acknowledge(journal, uid)
        kept = {"note", f"approval.codex-temporal.dev/{other}", f"approved-by.codex-temporal.dev/{other}"}
        await eventually(annotations, lambda seen: seen == kept)
        # Annotated once more, where no policy refuses it: decided is decided.
        await user.decide("x", APPROVAL_ID, "deny", "bob")
        await eventually(annotations, lambda seen: seen == kept)
    assert (await journal.decisions(uid))[APPROVAL_ID][0] == Decision(APPROVAL_ID, DecisionKind.APPROVE, "", "alice")


async def test_a_decision_starts_the_workflow_again_where_it_was_lost(
    user: ClusterUser, settings: Settings, journal: Journal, temporal: Client
) -> None:
    async with RunningOperator(settings):
        uid = await user.create_session("x")
        status = await eventually(lambda: user.status("x"), lambda s: "workflow" in s)
        await ask(journal, uid)
        handle = temporal.get_workflow_handle(status["workflow"]["id"])
        await handle.terminate("lost")
        await user.decide("x", APPROVAL_ID, "approve")
        later = await eventually(
            lambda: user.status("x"), lambda s: s["workflow"]["runId"] != status["workflow"]["runId"]
        )
    described = await temporal.get_workflow_handle(later["workflow"]["id"]).describe()
    assert described.run_id == later["workflow"]["runId"]


@pytest.mark.parametrize(
    ("approval_id", "value", "stamp", "reason"),
    [
        (APPROVAL_ID, "sure", "alice", "ApprovalInvalid"),
        (APPROVAL_ID, "approve", None, "ApprovalNotAttributed"),
        ("t1-c0-unknown", "approve", "alice", "ApprovalUnknown"),
        ("t1-c1-truncated", "approve", "alice", "ApprovalTruncated"),
        ("t1-c2-question", "approve", "alice", "ApprovalOfQuestion"),
    ],
)
async def test_what_the_api_server_should_have_refused_is_told_and_decides_nothing(
    user: ClusterUser,
    settings: Settings,
    journal: Journal,
    signals: Signals,
    approval_id: str,
    value: str,
    stamp: str | None,
    reason: str,
) -> None:
    async with RunningOperator(settings):
        uid = await user.create_session("x")
        await eventually(lambda: journal.session(uid), bool)
        await ask(journal, uid)
        await ask(journal, uid, "t1-c1-truncated", truncated=True)
        await ask(journal, uid, "t1-c2-question", **QUESTION)
        await user.decide("x", approval_id, value, stamp)
        events = await eventually(user.events, lambda found: any(e["reason"] == reason for e in found))
    (told,) = (event for event in events if event["reason"] == reason)
    assert told["type"] == "Warning"
    assert await journal.decisions(uid) == {}
    assert await signals() == []
