"""Prometheus metrics of the operator; label sets are small and fixed."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

SESSIONS = Gauge("codex_sessions", "CodexSessions by phase.", ["phase"])
RECONCILES = Counter("codex_reconcile_total", "Reconciles by outcome.", ["outcome"])
PROJECTION_LAG = Histogram(
    "codex_projection_lag_seconds",
    "From a row's commit to the status that shows it.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300),
)
STATUS_WRITES = Counter("codex_status_writes_total", "Writes of a CodexSession's status by outcome.", ["outcome"])
DECISIONS = Counter("codex_decisions_total", "Decisions on approvals taken from annotations.", ["decision"])
