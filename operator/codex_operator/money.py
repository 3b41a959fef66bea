"""Money as people write it, a decimal number, and as it is counted: whole millionths, never floats. Pure."""

from __future__ import annotations

DECIMALS = 6


def to_millionths(amount: str) -> int:
    """Return a decimal number with at most six decimals in millionths, exactly: ``2.50`` → 2,500,000.

    Raises ValueError for anything that spec.limits.maxCost does not allow.
    """
    whole, point, decimals = amount.partition(".")
    digits = whole + decimals
    if not (whole and digits.isascii() and digits.isdigit()) or len(decimals) > DECIMALS or (point and not decimals):
        raise ValueError(f"{amount!r} is no decimal number with at most {DECIMALS} decimals")
    return int(whole + decimals.ljust(DECIMALS, "0"))


def from_millionths(millionths: int) -> str:
    """Return millionths as a decimal number without needless zeros: 12,300 → ``0.0123``, 2,000,000 → ``2``."""
    whole, rest = divmod(millionths, 10**DECIMALS)
    return f"{whole}.{rest:0{DECIMALS}d}".rstrip("0").rstrip(".")
