"""The page about failures of the provider shows what this product does: each failure is met again."""

import asyncio
import re
from pathlib import Path

import pytest
from bench.agents import OurCommand
from bench.faults import CASES, MARKS, Case, Outcome, meet, replaced, table

PAGE = (Path(__file__).parents[2] / "docs" / "comparison.md").read_text(encoding="utf-8")
AT_ONCE = 2  # processes side by side; most of the time they wait


def rows() -> dict[str, list[str]]:
    """Return the cells of the page's table by the name of the failure."""
    text = PAGE.split(MARKS[0])[1].split(MARKS[1])[0]
    lines = [re.split(r"(?<!\\)\|", line)[1:-1] for line in text.strip().splitlines()[2:]]
    return {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in lines}


def kind(cell: str) -> str:
    """Return what remains of a cell without the figures of one run: how it ended, and what was said."""
    return re.sub(r", [0-9.]+ s, \d+ requests", "", cell)


def test_the_page_has_a_row_for_each_failure() -> None:
    assert list(rows()) == [case.name for case in CASES]


def test_no_failure_makes_ours_wait_for_ever_run_twice_or_end_well_without_an_answer() -> None:
    assert not [name for name, (_, ours) in rows().items() if "**" in ours]


@pytest.mark.temporal
async def test_every_failure_ends_as_the_page_says(our_command: OurCommand) -> None:
    places = asyncio.Semaphore(AT_ONCE)

    async def met(case: Case) -> Outcome:
        async with places:
            return await meet(our_command, case, patience_seconds=120)

    outcomes = await asyncio.gather(*(met(case) for case in CASES))
    shown = rows()
    different = {
        case.name: (kind(shown[case.name][1]), str(outcome))
        for case, outcome in zip(CASES, outcomes, strict=True)
        if kind(str(outcome)) != kind(shown[case.name][1])
    }
    assert not different


def test_only_the_table_between_the_marks_is_replaced() -> None:
    page = f"before\n{MARKS[0]}\nold\n{MARKS[1]}\nafter\n"
    assert replaced(page, table([], [["x"]])) == f"before\n{MARKS[0]}\n| failure |\n| --- |\n| x |\n{MARKS[1]}\nafter\n"
