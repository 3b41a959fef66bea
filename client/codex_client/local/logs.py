"""Logs of the worker within a command go to a file: the terminal belongs to the turn."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from codex_api.log_levels import InvalidLogLevel, parse_log_levels
from codex_client.local.errors import UsageError

MAX_LOG_BYTES = 5 * 1024 * 1024


def log_file(folder: Path, name: str) -> Path:
    """Return the log's path; one that grew too large begins anew."""
    path = folder / name
    try:
        if path.stat().st_size > MAX_LOG_BYTES:
            path.replace(path.with_suffix(".old"))
    except OSError:
        pass
    return path


def log_to_file(path: Path, levels: str) -> None:
    """Send this process's logs, Temporal's too, to a file; ``levels`` is like ``INFO,temporalio=WARNING``."""
    handler = logging.FileHandler(path, delay=True)
    # What cannot be written, as on a full disk, is not worth a traceback on the terminal.
    handler.handleError = lambda record: None  # type: ignore[method-assign]
    _log_to(handler, levels)


def log_to_stderr(levels: str) -> None:
    """Send this process's logs to standard error."""
    _log_to(logging.StreamHandler(), levels)


def forward_structlog() -> None:
    """Let the worker's parts log as Python does, instead of to standard output, which belongs to the answer.

    A program that uses structlog itself has configured it already.
    """
    import structlog

    if structlog.is_configured():
        return
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["event"]),
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )


def _log_to(handler: logging.Handler, levels: str) -> None:
    handler.setFormatter(logging.Formatter(f"%(asctime)s {os.getpid()} %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers = [handler]
    try:
        parsed = parse_log_levels(levels)
    except InvalidLogLevel as error:
        raise UsageError(str(error)) from error
    for name, level in parsed.items():
        logging.getLogger(name).setLevel(level)


def forward_temporal_logs() -> None:
    """Make Temporal's core log as Python does, instead of to the terminal; before the first client is made."""
    from temporalio.runtime import LogForwardingConfig, LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter

    forwarding = LogForwardingConfig(logger=logging.getLogger("temporalio.core"))
    levels = TelemetryFilter(core_level="WARN", other_level="ERROR")
    telemetry = TelemetryConfig(logging=LoggingConfig(filter=levels, forwarding=forwarding))
    Runtime.set_default(Runtime(telemetry=telemetry), error_if_already_set=False)
