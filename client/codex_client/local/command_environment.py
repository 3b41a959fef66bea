"""The environment of the model's commands: the user's own without secrets."""

from __future__ import annotations

import re
from collections.abc import Mapping

# Rather one too many: AUTH, but not AUTHOR, as git has it.
_SECRET_NAME = re.compile(
    r"KEY|SECRET|TOKEN|PASS|PWD|CREDENTIAL|PRIVATE|COOKIE|WEBHOOK|AUTH(?!ORS?(_|$))"
    r"|CONN(ECTION)?_?STR|(^|_)(PAT|DSN|SESSION)(_|$)",
    re.IGNORECASE,
)
_FOLDERS = frozenset({"PWD", "OLDPWD"})
# user:password@ within a URL, also where a slash is in the password; a lone user is a token unless it is one of SSH.
_SECRET_VALUE = re.compile(r"://[^/\s:@]*:[^\s@]+@|(?<!ssh)://[^/\s:@]+@")
_OUR_PREFIXES = ("CODEX_", "OPENAI_", "TEMPORAL_")
# Ways out of the sandbox, and programs that are run before the command, rather than secrets.
_DOORS = frozenset(
    {
        "SSH_AUTH_SOCK", "SSH_AGENT_PID", "GPG_AGENT_INFO", "DBUS_SESSION_BUS_ADDRESS", "DBUS_SYSTEM_BUS_ADDRESS",
        "DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "CONTAINER_HOST", "CONTAINERD_ADDRESS", "LIBVIRT_DEFAULT_URI",
        "KUBECONFIG", "AWS_PROFILE", "AWS_CONFIG_FILE", "AZURE_CONFIG_DIR", "CLOUDSDK_CONFIG", "NETRC",
        "DISPLAY", "WAYLAND_DISPLAY", "XAUTHORITY", "TMUX", "STY", "NVIM", "VSCODE_IPC_HOOK_CLI",
        "VSCODE_GIT_IPC_HANDLE", "BASH_ENV", "ENV", "LD_PRELOAD", "LD_AUDIT",
    }
)  # fmt: skip


def command_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what commands may see of ``environment``."""
    return {
        name: value
        for name, value in environment.items()
        if (name in _FOLDERS or not _SECRET_NAME.search(name))
        and not _SECRET_VALUE.search(value)
        and not name.startswith(_OUR_PREFIXES)
        and name not in _DOORS
    }
