"""What the demo's second person says to whatever a model asks."""

from __future__ import annotations

import pytest

from codex_api.approvals import DecisionKind, parse_decision
from codex_cluster.demo import decision


@pytest.mark.parametrize(
    ("kind", "truncated", "means"),
    [
        ("Exec", False, DecisionKind.APPROVE),
        ("WriteStdin", False, DecisionKind.APPROVE),
        ("Patch", False, DecisionKind.APPROVE),
        ("Exec", True, DecisionKind.DENY),
        ("Question", False, DecisionKind.ANSWER),
    ],
)
def test_whatever_a_model_asks_gets_a_decision_that_counts(kind: str, truncated: bool, means: DecisionKind) -> None:
    assert parse_decision("id", decision({"kind": kind, "truncated": truncated})).kind is means
