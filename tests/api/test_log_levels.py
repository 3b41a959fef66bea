"""LOG_LEVEL is read alike by every program."""

import logging
import os
import subprocess
import sys

import pytest

from codex_api.log_levels import InvalidLogLevel, parse_log_levels


@pytest.mark.parametrize(
    ("text", "levels"),
    [
        ("", {None: logging.INFO}),
        ("debug", {None: logging.DEBUG}),
        ("WARNING, temporalio.worker = ERROR,", {None: logging.WARNING, "temporalio.worker": logging.ERROR}),
        ("kopf=DEBUG", {None: logging.INFO, "kopf": logging.DEBUG}),
    ],
)
def test_a_level_and_levels_of_single_loggers_are_read(text: str, levels: dict[str | None, int]) -> None:
    assert parse_log_levels(text) == levels


@pytest.mark.parametrize("text", ["LOUD", "INFO,kopf=", "kopf=LOUD", "10"])
def test_an_unknown_level_is_refused_with_the_known_ones(text: str) -> None:
    with pytest.raises(InvalidLogLevel, match="none of the levels DEBUG, INFO, WARNING, ERROR"):
        parse_log_levels(text)


def test_a_worker_with_an_unknown_level_says_so_in_one_line() -> None:
    variables = {**os.environ, "LOG_LEVEL": "LOUD", "CODEX_DATABASE_URL": "postgresql://db/x"}
    done = subprocess.run(
        [sys.executable, "-m", "codex_worker"], env=variables, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (
        1,
        "LOG_LEVEL: 'LOUD' has none of the levels DEBUG, INFO, WARNING, ERROR\n",
    )
