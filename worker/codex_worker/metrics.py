"""What the worker tells Prometheus. Each fact is observed once, by the process whose append to the journal won."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

MODEL_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320)
APPROVAL_BUCKETS = (1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 14400, 86400)
TOOL_BUCKETS = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300)


class WorkerMetrics:
    """Label sets are small and fixed: never a session, a user or a host."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.model_request_duration = Histogram(
            "codex_model_request_duration_seconds",
            "Time from sending a request to the model until its reply was complete or had failed.",
            ["model", "outcome"],
            buckets=MODEL_BUCKETS,
            registry=registry,
        )
        self.approval_wait = Histogram(
            "codex_approval_wait_seconds",
            "Time from asking a person until the decision counted.",
            ["decision"],
            buckets=APPROVAL_BUCKETS,
            registry=registry,
        )
        self.tool_duration = Histogram(
            "codex_tool_call_duration_seconds",
            "Time from starting a tool call until its result was journaled.",
            ["tool", "outcome"],
            buckets=TOOL_BUCKETS,
            registry=registry,
        )
        self.model_tokens = Counter(
            "codex_model_tokens_total", "Tokens by direction.", ["model", "direction"], registry=registry
        )
        self.turns = Counter("codex_turns_total", "Turns by how they ended.", ["end"], registry=registry)
