"""The errors by which the API refuses a request."""

from __future__ import annotations

from typing import Any


class RequestRefused(Exception):
    """The request is answered with an error of the API."""

    def __init__(self, message: str, *, status: int = 400, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param

    def body(self) -> dict[str, Any]:
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


def unknown_parameter(name: str) -> RequestRefused:
    return RequestRefused(f"Unknown parameter: '{name}'.", code="unknown_parameter", param=name)


def missing_parameter(name: str) -> RequestRefused:
    message = f"Missing required parameter: '{name}'."
    return RequestRefused(message, code="missing_required_parameter", param=name)


def invalid_type(name: str, expected: str) -> RequestRefused:
    return RequestRefused(f"Invalid type for '{name}': expected {expected}.", code="invalid_type", param=name)


def invalid_value(name: str, value: Any, supported: frozenset[str]) -> RequestRefused:
    expected = ", ".join(repr(one) for one in sorted(supported))
    message = f"Invalid value: {value!r}. Supported values are: {expected}."
    return RequestRefused(message, code="invalid_value", param=name)
