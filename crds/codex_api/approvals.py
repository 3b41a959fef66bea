"""Approval ids, the annotations that decide them, and what those annotations may say."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from codex_api.names import APPROVAL_PREFIX, APPROVED_BY_PREFIX

ID_HASH_BYTES = 16  # 128 bits: 32 can be forged in half a second
MAX_REASON_CHARACTERS = 256
MAX_ANSWER_CHARACTERS = 2048


class InvalidDecision(ValueError):
    """An approval annotation whose value is none of the allowed ones."""


class DecisionKind(StrEnum):
    APPROVE = "approve"
    DENY = "deny"
    ABORT = "abort"
    ANSWER = "answer"
    """What a person says to a question of the model; for anything else it is a refusal with these words."""
    EXPIRE = "expire"
    """Written by a worker when nobody decided in time; the only kind its database role may insert."""


@dataclass(frozen=True)
class Decision:
    approval_id: str
    kind: DecisionKind
    reason: str = ""
    """Why it was denied, or the words of an answer."""
    decided_by: str = ""
    """The user name the API server stamped; empty where the cluster cannot attribute decisions."""


def approval_id(session: str, nonce: str, digest: str, turn: int, ordinal: int) -> str:
    """Return the id a person approves, for example ``t1-c2-mfrggzdfmztwq2lknnwg23tpoa``.

    ``ordinal`` only makes the id readable; the hash binds session, nonce and exactly what will run (``digest``).
    """
    content = "\n".join(("codex-approval-1", session, nonce, digest))
    hashed = hashlib.sha256(content.encode()).digest()[:ID_HASH_BYTES]
    return f"t{turn}-c{ordinal}-{base64.b32encode(hashed).decode().rstrip('=').lower()}"


def parse_decision(annotation_id: str, value: str, decided_by: str = "") -> Decision:
    """Parse an approval annotation's value; raises InvalidDecision for any value the API server should have refused."""
    word, separator, reason = value.partition(": ")
    if word == DecisionKind.DENY and (not separator or reason):
        return Decision(annotation_id, DecisionKind.DENY, reason[:MAX_REASON_CHARACTERS], decided_by)
    if word == DecisionKind.ANSWER and reason.strip():
        return Decision(annotation_id, DecisionKind.ANSWER, reason[:MAX_ANSWER_CHARACTERS], decided_by)
    if value in (DecisionKind.APPROVE, DecisionKind.ABORT):
        return Decision(annotation_id, DecisionKind(value), "", decided_by)
    allowed = "approve, abort, deny, 'deny: reason', 'answer: text'"
    raise InvalidDecision(f"approval {annotation_id}: {value[:80]!r} is none of {allowed}")


def approval_annotations(annotations: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return {approval id: (value, stamped user or "")} of all decisions an object carries."""
    return {
        key.removeprefix(APPROVAL_PREFIX): (
            value,
            annotations.get(APPROVED_BY_PREFIX + key.removeprefix(APPROVAL_PREFIX), ""),
        )
        for key, value in annotations.items()
        if key.startswith(APPROVAL_PREFIX)
    }
