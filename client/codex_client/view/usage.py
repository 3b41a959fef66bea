"""What model requests cost, summed. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from codex_api.rows import UsagePayload

MILLIONTH = Decimal("0.000001")


@dataclass(frozen=True)
class UsageTotal:
    requests: int = 0
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cost_millionths: int | None = None
    """None where not a single request had a price."""

    def plus(self, usage: UsagePayload) -> UsageTotal:
        cost = usage.cost_millionths
        return UsageTotal(
            self.requests + 1,
            self.input_tokens + usage.input_tokens,
            self.cached_input_tokens + usage.cached_input_tokens,
            self.output_tokens + usage.output_tokens,
            self.reasoning_tokens + usage.reasoning_tokens,
            self.cost_millionths if cost is None else (self.cost_millionths or 0) + cost,
        )

    @property
    def cost(self) -> str | None:
        """Decimal number in the currency of the price table."""
        return None if self.cost_millionths is None else format_cost(self.cost_millionths)

    def fields(self) -> dict[str, Any]:
        """Return the usage object of the event stream."""
        return {
            "input_tokens": self.input_tokens,
            "cached_input_tokens": self.cached_input_tokens,
            "cache_write_input_tokens": 0,
            "output_tokens": self.output_tokens,
            "reasoning_output_tokens": self.reasoning_tokens,
            "cost": self.cost,
        }


def format_cost(millionths: int) -> str:
    return format((Decimal(millionths) * MILLIONTH).normalize(), "f")
