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
class RequestSize:
    """The input of a request, estimated."""

    tokens: int = 0
    new_tokens: int = 0
    """The part of it that no provider can have cached."""

    def cost(self, prices: Prices) -> Decimal:
        """Return what it costs where all the rest is cached, in millionths."""
        return (self.tokens - self.new_tokens) * prices.cached_input + self.new_tokens * prices.input


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
    size: RequestSize,
    *,
    answer_tokens: int = 1,
    what: str = "the next call",
) -> BudgetEnd | None:
    """Return why requests of this size in all, with so much of an answer, may not be sent; None where they may.

    ``what`` names them in the message.
    """
    new_tokens = size.new_tokens + answer_tokens
    if spent.tokens + new_tokens > settings.max_tokens:
        exhausted = spent.tokens >= settings.max_tokens
        needed = "" if exhausted else f", and {what} needs about {new_tokens} more"
        return _token_limit(settings, spent, needed)
    limit = settings.max_cost_millionths
    if limit is None:
        return None
    if prices is None:
        message = (
            f"the session has a limit of money, but the model {model} has no price; add it to the provider's "
            f"configuration (models.{model}.prices: input, cachedInput, output per million tokens), or give no limit"
        )
        return BudgetEnd(conditions.REASON_PRICE_UNKNOWN, message, failed=True)
    least = size.cost(prices) + answer_tokens * prices.output
    if spent.cost_millionths >= limit or spent.cost_millionths + least > limit:
        return _cost_limit(limit, spent, f", and {what} would cost at least {_amount(int(least))}")
    return None


def output_allowance(settings: SessionSettings, spent: Spent, size: RequestSize, prices: Prices | None) -> int:
    """Return the most output tokens that tokens and money leave for the answer to a request of this size."""
    by_tokens = settings.max_tokens - spent.tokens - size.new_tokens
    if settings.max_cost_millionths is None or prices is None or not prices.output:
        return max(0, by_tokens)
    left = settings.max_cost_millionths - spent.cost_millionths - size.cost(prices)
    return max(0, min(by_tokens, int(left / prices.output)))


def was_cut_by_budget(usage: UsagePayload) -> bool:
    """Tell whether an answer that was cut short had reached the cap that a budget set."""
    return usage.max_output_tokens is not None and usage.output_tokens >= usage.max_output_tokens


def end_of_cut_answer(settings: SessionSettings, spent: Spent, prices: Prices | None) -> BudgetEnd:
    """Return the limit that an answer was cut by: the one that left less for it. ``spent`` includes the answer."""
    cut = ", and the answer was cut at what was left"
    limit = settings.max_cost_millionths
    tokens_left = max(0, settings.max_tokens - spent.tokens)
    if limit is not None and output_allowance(settings, spent, RequestSize(), prices) < tokens_left:
        return _cost_limit(limit, spent, cut)
    return _token_limit(settings, spent, cut)


def _token_limit(settings: SessionSettings, spent: Spent, more: str) -> BudgetEnd:
    message = f"the session used {spent.tokens} of its {settings.max_tokens} tokens{more} (limit maxTokens)"
    return BudgetEnd(conditions.REASON_TOKEN_LIMIT, message)


def _cost_limit(limit: int, spent: Spent, more: str) -> BudgetEnd:
    message = f"the session cost {_amount(spent.cost_millionths)} of its {_amount(limit)}{more} (limit maxCost)"
    return BudgetEnd(conditions.REASON_COST_LIMIT, message)


def _amount(millionths: int) -> str:
    return f"{Decimal(millionths) / 1_000_000:f}"
