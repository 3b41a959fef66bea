"""Tokens and money: what a call costs, what is left, and what ends a turn."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from codex_api.rows import SessionSettings, UsagePayload
from codex_worker.budget import Spent, budget_end, cost_millionths, output_allowance, priced
from codex_worker.providers import Prices, Provider

PRICES = Prices(input=Decimal("1.25"), cached_input=Decimal("0.125"), output=Decimal(10))
NOTHING = Spent(0, 0)
counts = st.integers(0, 10_000_000)


def test_a_call_costs_what_the_table_says_to_the_millionth() -> None:
    usage = UsagePayload(model="m", input_tokens=1_000_000, cached_input_tokens=800_000, output_tokens=1000)
    assert cost_millionths(usage, PRICES) == 250_000 + 100_000 + 10_000


@given(counts, counts, counts)
def test_parts_of_a_millionth_are_rounded_up_and_nothing_is_negative(uncached: int, cached: int, output: int) -> None:
    usage = UsagePayload(model="m", input_tokens=uncached + cached, cached_input_tokens=cached, output_tokens=output)
    exact = uncached * Decimal("1.25") + cached * Decimal("0.125") + output * 10
    assert exact <= cost_millionths(usage, PRICES) < exact + 1


def test_senseless_counts_never_give_money_back() -> None:
    usage = UsagePayload(model="m", input_tokens=0, cached_input_tokens=1_000_000)
    assert cost_millionths(usage, PRICES) == 0


def test_without_a_price_the_cost_is_unknown() -> None:
    assert priced(UsagePayload(model="m", input_tokens=5), None).cost_millionths is None


@pytest.mark.parametrize(
    ("limits", "spent", "prices", "reason"),
    [
        ({}, Spent(499_999, 10**9), PRICES, None),
        ({}, Spent(500_000, 0), PRICES, "TokenLimitReached"),
        ({"max_cost_millionths": 1000}, Spent(0, 990), PRICES, None),
        ({"max_cost_millionths": 1000}, Spent(0, 991), PRICES, "CostLimitReached"),
        ({"max_cost_millionths": 1000}, Spent(0, 1000), PRICES, "CostLimitReached"),
        ({"max_cost_millionths": 0}, NOTHING, PRICES, "CostLimitReached"),
        ({"max_cost_millionths": 1000}, NOTHING, None, "ModelPriceUnknown"),
        ({"max_cost_millionths": None}, NOTHING, None, None),
    ],
)
def test_a_limit_ends_the_turn_with_its_name(
    limits: dict[str, int], spent: Spent, prices: Prices | None, reason: str | None
) -> None:
    end = budget_end(SessionSettings(**limits), spent, "gpt-5.4", prices)
    assert (end and end.reason) == reason
    if end is not None and end.reason == "ModelPriceUnknown":
        assert end.failed
        assert "models.gpt-5.4.prices" in end.message


def test_a_request_that_alone_would_break_a_limit_is_not_sent() -> None:
    money = SessionSettings(max_cost_millionths=10_000)
    least = 80_000  # tokens, at the price of cached ones
    assert budget_end(money, NOTHING, "gpt-5.4", PRICES, least - 100) is None
    end = budget_end(money, NOTHING, "gpt-5.4", PRICES, least)
    assert end is not None
    assert end.reason == "CostLimitReached"
    assert "would cost at least 0.01001" in end.message
    tokens = SessionSettings(max_tokens=4000)
    assert budget_end(tokens, Spent(1000, 0), "gpt-5.4", None, 50_000, 2999) is None
    end = budget_end(tokens, Spent(1000, 0), "gpt-5.4", None, 50_000, 3000)
    assert end is not None
    assert (end.reason, "needs about 3000 more" in end.message) == ("TokenLimitReached", True)


def test_the_cap_of_the_output_is_what_tokens_and_money_leave() -> None:
    settings = SessionSettings(max_tokens=5000, max_cost_millionths=40_000)
    assert output_allowance(settings, NOTHING, 0, PRICES) == 4000
    assert output_allowance(settings, NOTHING, 80_000, PRICES) == 3000
    assert output_allowance(settings, Spent(4500, 0), 0, PRICES) == 500
    assert output_allowance(settings, Spent(0, 39_999), 100_000, PRICES) == 0
    assert output_allowance(settings.model_copy(update={"max_cost_millionths": None}), NOTHING, 0, None) == 5000


def test_prices_are_decimal_texts_under_the_names_of_the_chart() -> None:
    text = {"input": "1.25", "cachedInput": "0.125", "output": "10"}
    models = {"gpt-5.4": {"contextWindow": 400_000, "prices": text}}
    provider = Provider.model_validate({"baseUrl": "http://x/v1", "models": models})
    assert provider.model("gpt-5.4").prices == PRICES
    assert provider.model("gpt-5.4").context_window == 400_000
    assert provider.model("another").prices is None
    for wrong in ({**text, "input": 1.25}, {**text, "input": "-1"}, {**text, "input": "NaN"}, {"input": "1"}):
        with pytest.raises(ValidationError):
            Provider.model_validate({"baseUrl": "http://x/v1", "models": {"m": {"prices": wrong}}})
