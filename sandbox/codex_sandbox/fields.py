"""Typed reading of untrusted JSON objects. Everything here raises FieldError and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class FieldError(ValueError):
    """A field is missing or has the wrong type or size."""


def text(source: Mapping[str, Any], name: str, longest: int | None = None) -> str:
    """Return a string of at most `longest` characters."""
    value = source.get(name)
    if not isinstance(value, str):
        raise FieldError(f"{name} must be a string")
    if longest is not None and len(value) > longest:
        raise FieldError(f"{name} is longer than {longest} characters")
    return value


def optional_text(source: Mapping[str, Any], name: str) -> str | None:
    """Return a string, or None where the field is missing or null."""
    return None if source.get(name) is None else text(source, name)


def number(source: Mapping[str, Any], name: str, least: int = 0, most: int = 2**63 - 1) -> int:
    """Return an integer within [least, most]."""
    value = source.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise FieldError(f"{name} must be an integer")
    if not least <= value <= most:
        raise FieldError(f"{name} must be between {least} and {most}")
    return value


def optional_number(source: Mapping[str, Any], name: str, most: int = 2**63 - 1) -> int | None:
    """Return an integer within [0, most], or None where the field is missing or null."""
    return None if source.get(name) is None else number(source, name, 0, most)


def seconds(source: Mapping[str, Any], name: str) -> float:
    """Return a duration or a point in time, never negative."""
    value = source.get(name)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value < 2**53:
        raise FieldError(f"{name} must be a number of seconds")
    return float(value)


def flag(source: Mapping[str, Any], name: str, default: bool | None = None) -> bool:
    """Return a boolean; `default` where the field is missing."""
    value = source.get(name, default)
    if not isinstance(value, bool):
        raise FieldError(f"{name} must be true or false")
    return value


def texts(source: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Return a list of strings."""
    value = source.get(name)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise FieldError(f"{name} must be a list of strings")
    return tuple(value)


def text_mapping(source: Mapping[str, Any], name: str) -> dict[str, str]:
    """Return an object whose values are all strings."""
    value = source.get(name)
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise FieldError(f"{name} must be an object of strings")
    return dict(value)


def mapping(source: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return an object."""
    value = source.get(name)
    if not isinstance(value, dict):
        raise FieldError(f"{name} must be an object")
    return value
