"""Timeouts and retry policies of every activity, in one place.

The figures make a killed worker cost under two seconds on a server tuned as the chart's trial is.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TypedDict

from temporalio.common import RetryPolicy

HEARTBEAT_EVERY_SECONDS = 0.3
HEARTBEAT_TIMEOUT = timedelta(seconds=1.2)
MAX_HEARTBEAT_THROTTLE = timedelta(seconds=0.5)
STICKY_SCHEDULE_TO_START = timedelta(seconds=0.5)
GRACEFUL_SHUTDOWN = timedelta(seconds=20)  # below the pod's grace of 30 s
STOP_PROCESSES_WITHIN = timedelta(seconds=30)


class RemoteOptions(TypedDict):
    start_to_close_timeout: timedelta
    heartbeat_timeout: timedelta
    retry_policy: RetryPolicy


class LocalOptions(TypedDict):
    start_to_close_timeout: timedelta
    local_retry_threshold: timedelta
    retry_policy: RetryPolicy


# Attempts are unlimited on purpose: a mere rollout raises the attempt number. The journal counts real failures.
_RETRIES = RetryPolicy(
    initial_interval=timedelta(seconds=0.1), backoff_coefficient=2.0, maximum_interval=timedelta(seconds=10)
)

# A step may wait for a rate limit or a long command; the turn's clock is what ends it.
STEP = RemoteOptions(
    start_to_close_timeout=timedelta(days=7), heartbeat_timeout=HEARTBEAT_TIMEOUT, retry_policy=_RETRIES
)

JOURNAL = LocalOptions(
    start_to_close_timeout=timedelta(seconds=10), local_retry_threshold=timedelta(seconds=5), retry_policy=_RETRIES
)
