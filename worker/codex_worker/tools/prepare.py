"""From a model's call to what would run, and whether it may."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from codex_api.approvals import approval_id
from codex_api.names import call_id
from codex_api.rows import Classification, ToolCallPayload
from codex_api.tools import APPLY_PATCH, REQUEST_USER_INPUT
from codex_worker.tools import outcomes
from codex_worker.tools.call_context import CallContext
from codex_worker.tools.catalogue import PARALLEL
from codex_worker.tools.display import escape_for_display
from codex_worker.tools.exec_command import BadArguments
from codex_worker.tools.output import call_output
from codex_worker.tools.preparations import FUNCTIONS, CannotRun

FUNCTION_CALL = "function_call"
CUSTOM_CALL = "custom_tool_call"
MAX_NAME_CHARACTERS = 128
JUDGING_SECONDS = 0.25
"""Of processor time for all calls of a reply together."""
LARGE_REPLY_CHARACTERS = 16 * 1024


@dataclass(frozen=True)
class PreparedCall:
    payload: ToolCallPayload
    output: dict[str, Any] | None = None
    """The item that answers a call which is unknown, malformed or forbidden; None for one that runs or asks."""


def prepare_reply(items: Iterable[dict[str, Any]], context: CallContext) -> list[PreparedCall]:
    """Judge the calls among a reply's items, in their order; their index counts calls only.

    Raises KeyError for a call without name or call_id, which the Responses client refuses before.
    """
    context = replace(context, judging_ends=time.thread_time() + JUDGING_SECONDS)
    prepared: list[PreparedCall] = []
    seen: set[str] = set()
    asked = context.asked_before
    for item in items:
        if item.get("type") not in (FUNCTION_CALL, CUSTOM_CALL):
            continue
        repeated = item["call_id"] in seen
        seen.add(item["call_id"])
        call = prepare_call(item, context, index=len(prepared), asked_before=asked, repeated=repeated)
        asked += call.payload.classification is Classification.ASK
        prepared.append(call)
    return prepared


def is_costly_to_judge(items: Iterable[Mapping[str, Any]]) -> bool:
    """Tell whether the calls of a reply are so large that an event loop should not wait for their judgement."""
    sizes = (len(str(item.get(field) or "")) for item in items for field in ("name", "arguments", "input"))
    return sum(sizes) > LARGE_REPLY_CHARACTERS


def prepare_call(
    item: dict[str, Any], context: CallContext, *, index: int, asked_before: int = 0, repeated: bool = False
) -> PreparedCall:
    """Judge one call; ``repeated`` says that an earlier call of the reply has the same provider's id."""
    name, custom = str(item["name"]), item["type"] == CUSTOM_CALL
    prepare = FUNCTIONS.get(name) if not custom or name == APPLY_PATCH else None
    base = ToolCallPayload(
        call_id=call_id(context.turn, context.step, index),
        provider_call_id=item["call_id"],
        index=index,
        tool=escape_for_display(name[:MAX_NAME_CHARACTERS]),
        classification=Classification.UNKNOWN_TOOL,
        serial=prepare is not None and name not in PARALLEL,
        custom=custom,
    )
    if prepare is None:
        unsupported = outcomes.unsupported_custom_call if custom else outcomes.unsupported_call
        return _never_runs(base, Classification.UNKNOWN_TOOL, unsupported(base.tool))
    try:
        if repeated:
            raise BadArguments("the call_id is that of another call of the same reply")
        call = prepare(base, _arguments(item), context)
    except BadArguments as error:
        return _never_runs(base, Classification.MALFORMED, outcomes.malformed_call(str(error)))
    except CannotRun as error:
        return _never_runs(base, error.classification, str(error))
    if call.classification is not Classification.ASK:
        return PreparedCall(call)
    if call.truncated:
        # Nobody could approve it, and the turn would wait for nothing.
        kept = {"tool", "serial", "preview", "truncated", "justification"}
        shown = base.model_copy(update=call.model_dump(include=kept))
        too_long = outcomes.too_long_to_ask if call.tool == REQUEST_USER_INPUT else outcomes.too_long_to_approve
        text = too_long(context.settings.preview_bytes)
        return _never_runs(shown, Classification.FORBIDDEN, text)
    return PreparedCall(_with_approval(call, context, asked_before + 1))


def _arguments(item: dict[str, Any]) -> object:
    """Return a call's arguments as a function's JSON text; a custom tool's input is one argument as it stands."""
    return json.dumps({"input": item.get("input")}) if item["type"] == CUSTOM_CALL else item.get("arguments")


def _never_runs(call: ToolCallPayload, classification: Classification, text: str) -> PreparedCall:
    payload = call.model_copy(update={"classification": classification})
    return PreparedCall(payload, call_output(call.provider_call_id, text, custom=call.custom))


def _with_approval(call: ToolCallPayload, context: CallContext, ordinal: int) -> ToolCallPayload:
    # The call's own id keeps apart two calls of a reply that would run the same.
    nonce = f"{context.nonce}.{call.call_id}"
    identity = approval_id(context.session, nonce, call.digest, context.turn, ordinal)
    return call.model_copy(update={"nonce": nonce, "approval_id": identity})
