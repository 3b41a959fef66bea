"""The pure parts of the workflow and of the executor's judgement, without any server."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_api.approvals import Decision, DecisionKind, approval_id
from codex_api.events import TurnComplete, TurnStarted
from codex_api.rows import Classification, Delivery, ToolCallPayload
from codex_api.session import ApprovalPolicy
from codex_api.workflow_payloads import MessageSignal
from codex_sandbox.digest import command_digest
from codex_worker.errors import MissingProviderKey, UnknownProvider
from codex_worker.event_ring import MAX_BYTES, EventRing
from codex_worker.gate import NotAllowed, require_allowed
from codex_worker.mailbox import Mailbox
from codex_worker.providers import Provider, Providers
from codex_worker.retrying import LONGEST_RETRY, park_delay, retry_delay
from codex_worker.turn_clock import TurnClock

SESSION = "6f0c2c9e-0000-4000-8000-000000000001"


def message(seq: int, delivery: Delivery = Delivery.STEER) -> MessageSignal:
    return MessageSignal(key=f"m{seq}", seq=seq, delivery=delivery)


def test_a_repeated_signal_is_one_message() -> None:
    mailbox = Mailbox()
    for _ in range(3):
        mailbox.receive(message(4))
    mailbox.admit([4])
    mailbox.receive(message(4))
    assert not mailbox


def test_the_journal_s_word_counts_for_what_it_knows() -> None:
    mailbox = Mailbox()
    mailbox.receive(message(2))
    mailbox.receive(message(9))
    mailbox.open(5, [message(3)])
    mailbox.receive(message(4))
    waiting = []
    while (next_message := mailbox.next_message()) is not None:
        waiting.append(next_message.seq)
        mailbox.admit([next_message.seq])
    assert waiting == [3, 9]


def test_only_steering_belongs_into_a_running_turn() -> None:
    mailbox = Mailbox()
    mailbox.receive(message(2, Delivery.QUEUE))
    assert not mailbox.has_steering()
    mailbox.receive(message(3))
    assert mailbox.has_steering()


def test_a_paused_clock_stands_still() -> None:
    clock = TurnClock(limit=100, started_at=1000)
    clock.pause(1040)
    assert clock.remaining(5000) == 60
    clock.resume(5000)
    assert clock.remaining(5010) == 50
    assert clock.remaining(9000) == 0


@given(st.lists(st.integers(0, 4000), max_size=60), st.integers(-5, 80))
def test_the_event_ring_is_bounded_and_its_index_never_lies(lengths: list[int], index: int) -> None:
    ring = EventRing(first=10)
    ring.extend(TurnComplete(turn=number, last_agent_message="x" * length) for number, length in enumerate(lengths))
    answer = ring.since(index)
    assert answer.next == 10 + len(lengths)
    assert answer.first + len(answer.events) == answer.next
    assert sum(len(event.model_dump_json()) for event in answer.events) <= MAX_BYTES
    assert [event.turn for event in answer.events] == list(range(len(lengths)))[answer.first - 10 :]


def test_a_message_in_the_ring_is_cut() -> None:
    ring = EventRing()
    ring.extend([TurnStarted(turn=1, message=2), TurnComplete(turn=1, last_agent_message="y" * 5000)])
    last = ring.since(1).events[0]
    assert isinstance(last, TurnComplete)
    assert len(last.last_agent_message) == 1000


@given(st.integers(0, 10_000))
def test_waiting_grows_and_ends_somewhere(failures: int) -> None:
    assert 0 < retry_delay(failures) <= retry_delay(failures + 1) <= LONGEST_RETRY
    assert 0 < park_delay(failures) <= park_delay(failures + 1) <= LONGEST_RETRY


def call(classification: Classification, **changes: object) -> ToolCallPayload:
    argv = ["bash", "-c", "touch x"]
    digest = command_digest(argv, "/workspace", None, {}, False)
    payload = ToolCallPayload(
        call_id="t1.s1.c0",
        provider_call_id="p",
        index=0,
        tool="exec_command",
        classification=classification,
        argv=argv,
        directory="/workspace",
        digest=digest,
        nonce="n",
        approval_id=approval_id(SESSION, "n", digest, 1, 1),
    )
    return payload.model_copy(update=changes)


def approved(payload: ToolCallPayload, kind: DecisionKind = DecisionKind.APPROVE) -> Decision:
    return Decision(payload.approval_id, kind, "", "alice")


def judge(payload: ToolCallPayload, decision: Decision | None) -> None:
    require_allowed(payload, session=SESSION, policy=ApprovalPolicy.UNTRUSTED, decision=decision)


def test_an_automatic_call_and_an_approved_one_may_run() -> None:
    judge(call(Classification.AUTOMATIC), None)
    asked = call(Classification.ASK)
    judge(asked, approved(asked))


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        (call(Classification.ASK), None),
        (call(Classification.ASK), DecisionKind.DENY),
        (call(Classification.ASK), DecisionKind.EXPIRE),
        (call(Classification.FORBIDDEN), DecisionKind.APPROVE),
        (call(Classification.ASK, truncated=True), DecisionKind.APPROVE),
        (call(Classification.ASK, argv=["bash", "-c", "rm -rf ."]), DecisionKind.APPROVE),
        (call(Classification.AUTOMATIC, directory="/"), None),
        (call(Classification.ASK, nonce="another"), DecisionKind.APPROVE),
    ],
)
def test_nothing_else_may_run(payload: ToolCallPayload, kind: DecisionKind | None) -> None:
    with pytest.raises(NotAllowed):
        judge(payload, approved(payload, kind) if kind else None)


def test_a_provider_is_only_for_its_namespaces_and_says_so() -> None:
    providers = Providers(providers={"a": Provider(base_url="http://x/v1", namespaces=["team"])})
    assert providers.select("a", "team").base_url == "http://x/v1"
    with pytest.raises(UnknownProvider, match="may not be used in namespace 'other'"):
        providers.select("a", "other")
    with pytest.raises(UnknownProvider, match="there are: a"):
        providers.select("b", "team")


def test_a_key_is_read_each_time(tmp_path: Path) -> None:
    provider = Provider(base_url="http://x/v1", api_key_file=tmp_path / "key")
    with pytest.raises(MissingProviderKey):
        provider.key()
    (tmp_path / "key").write_text("one\n")
    assert provider.key() == "one"
    (tmp_path / "key").write_text("two")
    assert provider.key() == "two"
