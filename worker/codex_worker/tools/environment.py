"""What is laid over a sandbox's environment for a command."""

from __future__ import annotations

# Nobody can create it: the root of a sandbox is read-only, and on one machine the user is not root.
MISSING_HOME = "/nonexistent"
# Outside every writable volume, so that no file of the workspace can stand in for a known command.
SAFE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_LOCALE = "C.UTF-8"
# Settings through which a checked-out tree could make a reading git run a program. Filters that a repository's own
# .git/config names still run: no checkout brings that file, and writing it asks.
_GIT_SETTINGS = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "gpg.program": "/bin/false",
    "gpg.ssh.program": "/bin/false",
    "gpg.x509.program": "/bin/false",
    # A bare repository among checked-out files brings settings of its own.
    "safe.bareRepository": "explicit",
}


def command_environment(session: str, workspace: str) -> dict[str, str]:
    """Return the overlay of every command: plain output, no pager, the session's uid, a usable workspace."""
    return {
        "CODEX_CI": "1",
        "CODEX_SESSION_ID": session,
        "NO_COLOR": "1",
        "TERM": "dumb",
        "LANG": _LOCALE,
        "LC_ALL": _LOCALE,
        "LC_CTYPE": _LOCALE,
        "PAGER": "cat",
        "GIT_PAGER": "cat",
        "GH_PAGER": "cat",
        # A volume's root belongs to another user, and git refuses such a repository.
        **_git_settings({"safe.directory": workspace}),
    }


def safe_command_environment(session: str, workspace: str) -> dict[str, str]:
    """Return the overlay of a command that nobody is asked about: nothing in a writable volume may steer it."""
    return {
        **command_environment(session, workspace),
        "HOME": MISSING_HOME,
        "XDG_CONFIG_HOME": MISSING_HOME,
        "PATH": SAFE_PATH,
        "BASH_ENV": "",
        "CDPATH": "",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_OPTIONAL_LOCKS": "0",
        # A partial clone must not fetch what it lacks.
        "GIT_ALLOW_PROTOCOL": "none",
        **_git_settings({"safe.directory": workspace, **_GIT_SETTINGS}),
    }


def _git_settings(settings: dict[str, str]) -> dict[str, str]:
    """Return settings as git reads them from the environment, where they win over every file."""
    variables = {"GIT_CONFIG_COUNT": str(len(settings))}
    for number, (key, value) in enumerate(settings.items()):
        variables[f"GIT_CONFIG_KEY_{number}"] = key
        variables[f"GIT_CONFIG_VALUE_{number}"] = value
    return variables
