"""What kubectl shows of a session."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.apiserver


def status(name: str, pending: list[dict[str, Any]]) -> str:
    ready = {
        "type": "Ready",
        "status": "False",
        "reason": "ProviderSecretMissing",
        "message": "Create the Secret.",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    body = {
        "phase": "AwaitingApproval",
        "conditions": [ready],
        "turn": {"number": 3},
        "usage": {"totalTokens": 9530},
        "pendingApprovals": pending,
    }
    return json.dumps({"status": body})


@pytest.fixture
def waiting(cluster: Any, pending_approval: Callable[..., dict[str, Any]]) -> str:
    """A session with something in every column."""
    name: str = cluster.session()
    pending = [pending_approval("t3-c1-oldest"), pending_approval("t3-c2-newer")]
    patch = ("patch", "cxs", name, "--subresource=status", "--type=merge", "-p", status(name, pending))
    cluster.kubectl(*patch, user=cluster.operator)
    return name


def test_the_columns_tell_where_a_session_stands(cluster: Any, waiting: str) -> None:
    header, row = cluster.kubectl("get", "cxs", waiting, user="bob").splitlines()
    assert header.split() == ["NAME", "PHASE", "APPROVAL", "TURN", "TOKENS", "REASON", "AGE"]
    assert row.split()[:-1] == [waiting, "AwaitingApproval", "t3-c1-oldest", "3", "9530", "ProviderSecretMissing"]


def test_sessions_are_found_by_short_name_category_and_phase(cluster: Any, waiting: str) -> None:
    assert waiting in cluster.kubectl("get", "codex", user="bob")
    chosen = cluster.kubectl("get", "cxs", "--field-selector=status.phase=AwaitingApproval", "-o", "name", user="bob")
    assert f"codexsession.codex-temporal.dev/{waiting}" in chosen.split()
    other = cluster.session()
    assert other not in chosen
    fresh = cluster.kubectl("get", "cxs", "--field-selector=status.phase=Pending", "-o", "name", user="bob")
    assert f"codexsession.codex-temporal.dev/{other}" in fresh.split()
    assert waiting not in fresh


def test_waiting_for_a_condition_works(cluster: Any, waiting: str) -> None:
    wait = ("wait", f"cxs/{waiting}", "--timeout=10s")
    assert "condition met" in cluster.kubectl(*wait, "--for=condition=Ready=False", user="bob")


def test_explain_has_words_for_every_field(cluster: Any) -> None:
    text = cluster.kubectl("explain", "cxs", "--recursive", user="bob")
    assert "pendingApprovals" in text
    for path in ("cxs", "cxs.spec", "cxs.spec.sandbox.resources.limits", "cxs.status", "cxs.status.pendingApprovals"):
        assert "<no description>" not in cluster.kubectl("explain", path, user="bob"), path
    told = cluster.kubectl("explain", "cxs.spec.approval.policy", user="bob")
    assert "ENUM:" in told
    assert "needs the verb bypass" in " ".join(told.split())


def test_describe_shows_the_command_that_waits(cluster: Any, waiting: str) -> None:
    assert "pip install -r requirements.txt" in cluster.kubectl("describe", "cxs", waiting, user="bob")
