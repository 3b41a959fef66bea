"""Patches in the format that coding models write: parsed, matched, applied and reported. Standard library only."""
