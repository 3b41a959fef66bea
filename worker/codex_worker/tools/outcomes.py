"""What a model reads of a call that did not run, or not to its end."""

from __future__ import annotations

_NOT_RUN = "The call was not run."


def unsupported_call(name: str) -> str:
    return f"unsupported call: {name}"


def unsupported_custom_call(name: str) -> str:
    return f"unsupported custom tool call: {name}"


def malformed_call(problem: str) -> str:
    return f"failed to parse function arguments: {problem}"


def too_long_to_approve(max_bytes: int) -> str:
    """A person approves only what can be shown whole."""
    return (
        f"{_NOT_RUN} It needs a person's approval, and a person can be shown at most {max_bytes} bytes. "
        "Shorten it, or split it: write a longer text to a file in several smaller calls, then use the file."
    )


def too_long_to_ask(max_bytes: int) -> str:
    """Nobody can answer what cannot be shown whole."""
    return (
        f"The question was not asked: a person can be shown at most {max_bytes} bytes, options included. "
        f"Ask in at most {max_bytes} bytes: fewer or shorter questions, fewer or shorter options."
    )


def denied(reason: str = "") -> str:
    return f"{_NOT_RUN} rejected by user" + (f": {reason}" if reason else "")


def expired(timeout_seconds: int) -> str:
    return f"{_NOT_RUN} rejected: it needs a person's approval, and nobody answered within {timeout_seconds} seconds"


def declined(reason: str = "") -> str:
    """A person would not answer the model's question."""
    return "The user declined to answer" + (f": {reason}" if reason else "")


def unanswered(timeout_seconds: int) -> str:
    return f"Nobody answered the question within {timeout_seconds} seconds. Go on with your best judgement."


def nobody_to_ask() -> str:
    """The session's policy is to ask nobody."""
    return "request_user_input is unavailable: nobody can be asked in this session. Go on with your best judgement."


def invalid_patch(problem: str) -> str:
    return f"apply_patch verification failed: {problem}"


def too_many_images(held: int, most: int) -> str:
    """Lengths as the images are sent, in characters."""
    return (
        f"the image was left out: the images of this conversation already take {held / 2**20:.1f} of at most "
        f"{most / 2**20:.0f} MiB. Go on with those you have seen, or look at smaller ones: scale or crop them first."
    )


def aborted(seconds: float | None = None) -> str:
    """The turn was ended on purpose; ``seconds`` is how long the call had been running, None where it had not begun."""
    return "aborted by user" if seconds is None else f"aborted by user after {seconds:.1f}s"


def cut_off(reason: str) -> str:
    """The turn ended on its own account, at a limit or by a failure; ``reason`` is a condition's."""
    return f"not finished: the turn ended first ({reason})"


def interrupted(workspace_kept: bool) -> str:
    """The sandbox that ran the call is gone, and nobody can tell how far the call came."""
    return f"interrupted: the sandbox was lost while this ran. It may have partly run. {_files(workspace_kept)}"


def sandbox_replaced(workspace_kept: bool) -> str:
    """The first command in a new sandbox finds other processes, and perhaps other files, than the one before."""
    return f"Note: the sandbox was replaced since the last command; nothing runs in it. {_files(workspace_kept)}"


def _files(workspace_kept: bool) -> str:
    if workspace_kept:
        return "The files of the workspace were kept; check them before you repeat anything."
    return "The new sandbox began with a fresh workspace: files written before are gone."


def process_lost(process: int) -> str:
    """Processes do not outlive the sandbox they ran in."""
    return f"write_stdin failed: the process with session ID {process} ended with its sandbox, which was replaced"


def unknown_process(process: int) -> str:
    return f"write_stdin failed: Unknown process id {process}"


def refused(message: str) -> str:
    """The sandbox would not run the call, for example because what arrived is not what was approved."""
    return f"{_NOT_RUN} The sandbox refused it: {message}"


def too_many_processes(message: str) -> str:
    return (
        f"{_NOT_RUN} {message[:1].upper()}{message[1:]}, which is the most a session may have. "
        "End some of them first: let them finish, or write Ctrl-C to them."
    )


def failed(message: str) -> str:
    return f"failed: {message}"
