"""Tokens and money: what a call costs, what is left, and what ends a turn."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from codex_api.rows import SessionSettings, UsagePayload
from codex_worker.budget import (
    RequestSize,
    Spent,
    budget_end,
    cost_millionths,
    end_of_cut_answer,
    output_allowance,
    priced,
    was_cut_by_budget,
)
from codex_worker.providers import Prices, Provider

PRICES = Prices(input=Decimal("1.25"), cached_input=Decimal("0.125"), output=Decimal(10))
NOTHING = Spent(0, 0)
NO_INPUT = RequestSize()
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
    end = budget_end(SessionSettings(**limits), spent, "gpt-5.4", prices, NO_INPUT)
    assert (end and end.reason) == reason
    if end is not None and end.reason == "ModelPriceUnknown":
        assert end.failed
        assert "models.gpt-5.4.prices" in end.message


def test_a_request_that_alone_would_break_the_limit_of_tokens_is_not_sent() -> None:
    tokens = SessionSettings(max_tokens=4000)
    assert budget_end(tokens, Spent(1000, 0), "gpt-5.4", None, RequestSize(50_000, 2999)) is None
    end = budget_end(tokens, Spent(1000, 0), "gpt-5.4", None, RequestSize(50_000, 3000))
    assert end is not None
    assert (end.reason, "needs about 3001 more" in end.message) == ("TokenLimitReached", True)


@pytest.mark.parametrize(("new", "old"), [(0, 79_920), (7_992, 0), (4_000, 39_920)])
def test_a_request_that_alone_would_break_the_limit_of_money_is_not_sent(new: int, old: int) -> None:
    """What is new costs its whole price, and ten times as much here as what may be cached."""
    money = SessionSettings(max_cost_millionths=10_000)
    assert budget_end(money, NOTHING, "gpt-5.4", PRICES, RequestSize(new + old, new)) is None
    end = budget_end(money, NOTHING, "gpt-5.4", PRICES, RequestSize(new + old + 8, new + 8))
    assert end is not None
    assert end.reason == "CostLimitReached"
    assert "would cost at least 0.01001" in end.message


def test_an_answer_that_is_needed_counts_like_what_is_sent() -> None:
    size, wanted = RequestSize(1000, 1000), {"answer_tokens": 500}
    assert budget_end(SessionSettings(max_tokens=1500), NOTHING, "gpt-5.4", None, size, **wanted) is None
    end = budget_end(SessionSettings(max_tokens=1499), NOTHING, "gpt-5.4", None, size, **wanted, what="a summary")
    assert end is not None
    assert "a summary needs about 1500 more" in end.message
    assert budget_end(SessionSettings(max_cost_millionths=6250), NOTHING, "gpt-5.4", PRICES, size, **wanted) is None
    end = budget_end(SessionSettings(max_cost_millionths=6249), NOTHING, "gpt-5.4", PRICES, size, **wanted)
    assert end is not None
    assert end.reason == "CostLimitReached"


def test_the_cap_of_the_output_is_what_tokens_and_money_leave() -> None:
    settings = SessionSettings(max_tokens=5000, max_cost_millionths=40_000)
    assert output_allowance(settings, NOTHING, NO_INPUT, PRICES) == 4000
    assert output_allowance(settings, NOTHING, RequestSize(80_000, 0), PRICES) == 3000
    assert output_allowance(settings, NOTHING, RequestSize(1600, 1600), PRICES) == 3400
    assert output_allowance(settings, Spent(4500, 0), NO_INPUT, PRICES) == 500
    assert output_allowance(settings, Spent(4500, 0), RequestSize(9000, 400), PRICES) == 100
    assert output_allowance(settings, Spent(0, 39_999), RequestSize(100_000, 0), PRICES) == 0
    without_money = settings.model_copy(update={"max_cost_millionths": None})
    assert output_allowance(without_money, NOTHING, NO_INPUT, None) == 5000
    assert output_allowance(without_money, Spent(4000, 0), RequestSize(2000, 2000), None) == 0


amounts = st.integers(0, 10_000)


@given(max_tokens=st.integers(1, 20_000), max_cost=st.integers(1, 100_000), used=amounts, new=amounts, old=amounts)
def test_a_request_and_the_answer_it_may_have_stay_within_both_limits(
    max_tokens: int, max_cost: int, used: int, new: int, old: int
) -> None:
    settings = SessionSettings(max_tokens=max_tokens, max_cost_millionths=max_cost)
    before, size = Spent(used, used), RequestSize(new + old, new)
    if budget_end(settings, before, "gpt-5.4", PRICES, size) is not None:
        return
    output = output_allowance(settings, before, size, PRICES)
    assert output >= 1
    usage = UsagePayload(model="m", input_tokens=new + old, cached_input_tokens=old, output_tokens=output)
    assert used + new + output <= max_tokens
    assert used + cost_millionths(usage, PRICES) <= max_cost


def test_only_an_answer_that_reached_its_cap_was_cut_by_the_budget() -> None:
    assert was_cut_by_budget(UsagePayload(model="m", output_tokens=100, max_output_tokens=100))
    assert not was_cut_by_budget(UsagePayload(model="m", output_tokens=99, max_output_tokens=100))
    assert not was_cut_by_budget(UsagePayload(model="m", output_tokens=99))


@pytest.mark.parametrize(
    ("limits", "spent", "reason"),
    [
        ({"max_tokens": 5000}, Spent(4900, 0), "TokenLimitReached"),
        ({"max_tokens": 5000, "max_cost_millionths": 10_000}, Spent(4900, 8_900), "TokenLimitReached"),
        ({"max_tokens": 5000, "max_cost_millionths": 10_000}, Spent(4900, 9_100), "CostLimitReached"),
        ({"max_tokens": 5000, "max_cost_millionths": 10_000}, Spent(100, 10_050), "CostLimitReached"),
    ],
)
def test_an_answer_was_cut_by_the_limit_that_left_less(limits: dict[str, int], spent: Spent, reason: str) -> None:
    end = end_of_cut_answer(SessionSettings(**limits), spent, PRICES)
    assert end.reason == reason
    assert "the answer was cut at what was left" in end.message


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
