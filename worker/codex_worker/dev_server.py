"""How Temporal's dev server is tuned wherever we start one."""

# One shard is paced to 20 tasks per second otherwise, and its timers fire up to a second late.
DEV_SERVER_OPTIONS = (
    "--dynamic-config-value",
    "history.transferProcessorMaxPollRPS=200",
    "--dynamic-config-value",
    'history.timerProcessorMaxTimeShift="50ms"',
)
