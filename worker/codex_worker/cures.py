"""What a person can do about a turn that cannot go on, worded for where it runs. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from codex_api import conditions

_SERVICE = {
    conditions.REASON_PROVIDER_SECRET_MISSING: "fill the provider's Secret",
    conditions.REASON_PROVIDER_UNAUTHORIZED: "correct the key in the provider's Secret",
    conditions.REASON_PROVIDER_QUOTA_EXHAUSTED: "raise it or pay",
    conditions.REASON_MODEL_UNAVAILABLE: "correct the provider's baseUrl",
}
AT_A_TERMINAL: Mapping[str, str] = {
    conditions.REASON_PROVIDER_SECRET_MISSING: "set OPENAI_API_KEY",
    conditions.REASON_PROVIDER_UNAUTHORIZED: "set OPENAI_API_KEY to a key that OPENAI_BASE_URL accepts",
    conditions.REASON_PROVIDER_QUOTA_EXHAUSTED: "raise it or pay",
    conditions.REASON_MODEL_UNAVAILABLE: "correct OPENAI_BASE_URL",
}


def with_cure(reason: str, message: str, *, waits: bool) -> str:
    """Return the message with what mends it: ``waits`` where the turn goes on by itself once that is done.

    How a session at a terminal goes on after that is not said here: whoever shows it knows the session.
    """
    cure = (_SERVICE if waits else AT_A_TERMINAL).get(reason)
    if waits:
        return f"{message}; {cure}, the session then goes on by itself" if cure else message
    return f"{message}; {cure}" if cure else message
