"""The environment of the model's commands: the user's own without secrets."""

from __future__ import annotations

import re
from collections.abc import Mapping

_SECRET_NAME = re.compile(r"KEY|SECRET|TOKEN|PASSW|CREDENTIAL", re.IGNORECASE)
_SECRET_VALUE = re.compile(r"://[^/\s:@]*:[^/\s@]+@")  # user:password@ within a URL
_OUR_PREFIXES = ("CODEX_", "OPENAI_", "TEMPORAL_")
# Doors out of the sandbox rather than secrets.
_DOORS = frozenset({"SSH_AUTH_SOCK", "SSH_AGENT_PID", "DBUS_SESSION_BUS_ADDRESS", "GPG_AGENT_INFO", "DOCKER_HOST"})


def command_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what commands may see of ``environment``."""
    return {
        name: value
        for name, value in environment.items()
        if not _SECRET_NAME.search(name)
        and not _SECRET_VALUE.search(value)
        and not name.startswith(_OUR_PREFIXES)
        and name not in _DOORS
    }
