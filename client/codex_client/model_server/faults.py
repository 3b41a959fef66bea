"""Which fault of a reply is due, and the errors of the API that go with it."""

from __future__ import annotations

from collections import OrderedDict
from http import HTTPStatus
from typing import Any

from codex_client.model_server.choice import Choice
from codex_client.model_server.script import Fault

# What the API says where the script names no code.
STATUS_CODES = {
    401: "invalid_api_key",
    403: "unsupported_country_region_territory",
    404: "model_not_found",
    429: "rate_limit_exceeded",
    500: "server_error",
    503: "server_is_overloaded",
}
MESSAGES = {
    "invalid_api_key": "Incorrect API key provided.",
    "unsupported_country_region_territory": "Country, region, or territory not supported.",
    "model_not_found": "The model does not exist or you do not have access to it.",
    "rate_limit_exceeded": "Rate limit reached for requests.",
    "insufficient_quota": "You exceeded your current quota, please check your plan and billing details.",
    "server_is_overloaded": "The server is overloaded, please try again later.",
    "context_length_exceeded": "Your input exceeds the context window of this model.",
    "server_error": "The server had an error while processing your request.",
}


class FaultCounter:
    """Counts how often each session met the faults of a reply; forgets those asked for longest ago."""

    def __init__(self, capacity: int = 10_000) -> None:
        self._capacity = capacity
        self._met: OrderedDict[tuple[Any, ...], int] = OrderedDict()

    def due(self, choice: Choice, session: Any) -> Fault | None:
        """Return the fault this request meets, None if the reply is to be given, and count it."""
        if not choice.reply.fail:
            return None
        key = (choice.conversation, choice.number, choice.compaction, session)
        met = self._met.pop(key, 0)
        self._met[key] = met + 1
        if len(self._met) > self._capacity:
            self._met.popitem(last=False)
        for fault in choice.reply.fail:
            if fault.times is None or met < fault.times:
                return fault
            met -= fault.times
        return None


def refusal(fault: Fault) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Return status, headers and body of a fault that refuses the request."""
    status = fault.status or 500
    code = fault.code if fault.code is not None else STATUS_CODES.get(status)
    message = fault.message or MESSAGES.get(code or "", f"The request failed with status {status}.")
    headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
    kind = "invalid_request_error" if status < 500 and status != 429 else "server_error"
    if code in ("rate_limit_exceeded", "insufficient_quota"):
        kind = "requests" if code == "rate_limit_exceeded" else "insufficient_quota"
    return status, headers, {"error": {"message": message, "type": kind, "param": None, "code": code}}


def gateway_page(status: int) -> str:
    """Return the page a gateway shows when what is behind it does not answer."""
    title = f"{status} {HTTPStatus(status).phrase}" if status in set(HTTPStatus) else str(status)
    return f"<html>\r\n<head><title>{title}</title></head>\r\n<body><h1>{title}</h1></body>\r\n</html>\r\n"


def failure(fault: Fault) -> dict[str, Any]:
    """Return the error of a response.failed."""
    code = fault.failed_code or "server_error"
    message = fault.message or MESSAGES.get(code, f"The response failed: {code}.")
    if fault.retry_after is not None:
        message += f" Please try again in {fault.retry_after}s."
    return {"code": code, "message": message}
