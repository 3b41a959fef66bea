"""The setting LOG_LEVEL, which all programs read alike: a level, and levels of single loggers."""

from __future__ import annotations

import logging


class InvalidLogLevel(ValueError):
    """The setting is not of the form ``INFO`` or ``INFO,temporalio=WARNING``."""


def parse_log_levels(text: str) -> dict[str | None, int]:
    """Parse ``DEBUG,temporalio=WARNING`` to {None: 10, "temporalio": 30}; None is the root, INFO unless given.

    Raises InvalidLogLevel.
    """
    known = logging.getLevelNamesMapping()
    levels: dict[str | None, int] = {None: logging.INFO}
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, _, level = (part.strip() for part in item.rpartition("="))
        if level.upper() not in known:
            raise InvalidLogLevel(f"LOG_LEVEL: {item!r} has none of the levels DEBUG, INFO, WARNING, ERROR")
        levels[name or None] = known[level.upper()]
    return levels
