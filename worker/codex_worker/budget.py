"""Tokens and money of a session: what a call costs, what is left, and how the turn ends where nothing is. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

from codex_api import conditions
from codex_api.rows import SessionSettings, UsagePayload
from codex_worker.providers import Prices


@dataclass(frozen=True)
class Spent:
    """Of the whole session, failed attempts included."""

    tokens: int
    """Uncached input and output."""
    cost_millionths: int


@dataclass(frozen=True)
class BudgetEnd:
    """Why no further model call may be made."""

    reason: str
    message: str
    failed: bool = False
    """False: a limit that somebody set was reached. True: it cannot be kept at all."""


def cost_millionths(usage: UsagePayload, prices: Prices) -> int:
    """Return the cost of a call in millionths of the price table's currency, rounded up."""
    # A price per million tokens is the price of one token in millionths.
    cost = (
        (usage.input_tokens - usage.cached_input_tokens) * prices.input
        + usage.cached_input_tokens * prices.cached_input
        + usage.output_tokens * prices.output
    )
    return int(max(cost, Decimal(0)).to_integral_value(ROUND_CEILING))


def priced(usage: UsagePayload, prices: Prices | None) -> UsagePayload:
    """Return the usage with its cost, where there is a price."""
    return usage if prices is None else usage.model_copy(update={"cost_millionths": cost_millionths(usage, prices)})


def budget_end(
    settings: SessionSettings,
    spent: Spent,
    model: str,
    prices: Prices | None,
    input_tokens: int = 0,
    new_tokens: int = 0,
) -> BudgetEnd | None:
    """Return why the next call may not be made, or None.

    ``input_tokens`` is the request's estimated size, ``new_tokens`` the part of it that no provider can have cached.
    """
    if spent.tokens + new_tokens >= settings.max_tokens:
        needed = f", and the next call needs about {new_tokens} more" if spent.tokens < settings.max_tokens else ""
        message = f"the session used {spent.tokens} of its {settings.max_tokens} tokens{needed} (limit maxTokens)"
        return BudgetEnd(conditions.REASON_TOKEN_LIMIT, message)
    limit = settings.max_cost_millionths
    if limit is None:
        return None
    if prices is None:
        message = (
            f"the session has a limit of money, but the model {model} has no price; add it to the provider's "
            f"configuration (models.{model}.prices: input, cachedInput, output per million tokens), or give no limit"
        )
        return BudgetEnd(conditions.REASON_PRICE_UNKNOWN, message, failed=True)
    # At least the input at a cached one's price, and one token of an answer; so also where an answer was cut by what
    # was left.
    least = input_tokens * prices.cached_input + prices.output
    if spent.cost_millionths >= limit or spent.cost_millionths + least > limit:
        cost = f"the session cost {_amount(spent.cost_millionths)} of its {_amount(limit)}"
        message = f"{cost}, and the next call would cost at least {_amount(int(least))} (limit maxCost)"
        return BudgetEnd(conditions.REASON_COST_LIMIT, message)
    return None


def output_allowance(settings: SessionSettings, spent: Spent, input_tokens: int, prices: Prices | None) -> int:
    """Return the most output tokens that tokens and money allow; ``input_tokens`` is the request's estimated size.

    The input counts at the price of a cached one, which it costs at least.
    """
    allowance = settings.max_tokens - spent.tokens
    if settings.max_cost_millionths is None or prices is None or not prices.output:
        return allowance
    left = settings.max_cost_millionths - spent.cost_millionths - input_tokens * prices.cached_input
    return max(0, min(allowance, int(left / prices.output)))


def _amount(millionths: int) -> str:
    return f"{Decimal(millionths) / 1_000_000:f}"
