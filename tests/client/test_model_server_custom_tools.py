"""Custom tools, images and schemas: what goes over the wire, and what the API would refuse."""

from typing import Any

import openai
import pytest
from aiohttp import ClientSession

from codex_client.model_server.script_file import ScriptError, parse_script
from codex_client.model_server.testing import ScriptedModel

PATCH = "*** Begin Patch\n*** Add File: a.txt\n+an “odd” line\n*** End Patch\n"
GRAMMAR = {"type": "grammar", "syntax": "lark", "definition": "start: /.+/"}
TOOL: dict[str, Any] = {"type": "custom", "name": "apply_patch", "description": "Edit files.", "format": GRAMMAR}
TOOLS: Any = [TOOL]
REPLIES = [{"calls": [{"name": "apply_patch", "input": PATCH}]}, {"text": "It said {{last_output}}."}]


def client_of(model: ScriptedModel) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(api_key="any", base_url=model.base_url, max_retries=0)


async def test_a_custom_call_is_streamed_and_answered() -> None:
    async with ScriptedModel(replies=REPLIES) as model, client_of(model) as client:
        items: list[Any] = [{"role": "user", "content": "Patch it."}]
        stream = await client.responses.create(model="m", input=items, tools=TOOLS, stream=True)
        events = [event async for event in stream]
        items += [event.item.to_dict() for event in events if event.type == "response.output_item.done"]
        output = "Exit code: 0\nWall time: 0 seconds\nOutput:\nSuccess.\n"
        items.append({"type": "custom_tool_call_output", "call_id": items[-1]["call_id"], "output": output})
        second = await client.responses.create(model="m", input=items, tools=TOOLS)
    deltas = [event.delta for event in events if event.type == "response.custom_tool_call_input.delta"]
    done = [event.input for event in events if event.type == "response.custom_tool_call_input.done"]
    assert "".join(deltas) == PATCH
    assert done == [PATCH]
    assert second.output_text == "It said Success.."


async def test_the_process_left_running_can_be_named() -> None:
    call = {"name": "write_stdin", "arguments": '{"session_id": {{last_process}}, "chars": "x"}'}
    running = {
        "type": "function_call_output",
        "call_id": "a",
        "output": "Wall time: 1.0 seconds\nProcess running with session ID 62248\nOutput:\nready\n",
    }
    asked = {"type": "function_call", "call_id": "a", "name": "exec_command", "arguments": "{}"}
    items: list[Any] = [asked, running]
    async with ScriptedModel(replies=[{"text": "first"}, {"calls": [call]}]) as model, client_of(model) as client:
        answer = await client.responses.create(model="m", input=items)
    assert answer.output[0].to_dict()["arguments"] == '{"session_id": 62248, "chars": "x"}'


def test_a_call_is_of_a_function_or_of_a_custom_tool() -> None:
    with pytest.raises(ScriptError, match="not both"):
        parse_script(
            "conversations:\n  - match: always\n    replies: [{calls: [{name: a, input: x, arguments: {b: 1}}]}]\n"
        )


CUSTOM = {"type": "custom_tool_call", "call_id": "c1", "name": "apply_patch", "input": "x"}
CUSTOM_OUTPUT = {"type": "custom_tool_call_output", "call_id": "c1", "output": "x"}
FUNCTION = {"type": "function_call", "call_id": "c1", "name": "view_image", "arguments": "{}"}
FUNCTION_OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "x"}
IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "high"}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"properties": {"type": "array", "items": {"$ref": "#/$defs/required"}}},
    "required": ["properties"],
    "additionalProperties": False,
    "$defs": {"required": {"type": "object", "properties": {}, "required": [], "additionalProperties": False}},
}


def image(**change: Any) -> dict[str, Any]:
    return {"input": [FUNCTION, {**FUNCTION_OUTPUT, "output": [{**IMAGE, **change}]}]}


def schema(form: dict[str, Any]) -> dict[str, Any]:
    return {"text": {"format": {"type": "json_schema", "name": "answer", "strict": True, "schema": SCHEMA, **form}}}


async def post(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    async with ScriptedModel(replies=[{"text": "{}"}, {"text": "{}"}]) as model, ClientSession() as http:
        url = f"{model.base_url}/responses"
        async with http.post(url, json={"model": "m", "input": "x", **body}) as answer:
            return answer.status, await answer.json()


@pytest.mark.parametrize(
    "body",
    [
        {"input": [CUSTOM, CUSTOM_OUTPUT], "tools": [TOOL, {"type": "custom", "name": "free"}]},
        {"input": [CUSTOM, FUNCTION, FUNCTION_OUTPUT, CUSTOM_OUTPUT]},
        {"input": [{"role": "developer", "content": [{"type": "input_text", "text": "Be brief."}]}]},
        image(),
        {"input": [{"role": "user", "content": [IMAGE, {"type": "input_text", "text": "What is it?"}]}]},
        schema({}),
        schema({"strict": False, "schema": {"type": "object"}}),
        {"text": {"verbosity": "low"}},
    ],
)
async def test_a_request_the_api_takes_is_taken(body: dict[str, Any]) -> None:
    status, answer = await post(body)
    assert (status, answer.get("error")) == (200, None)


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        ({"input": [CUSTOM]}, None, "No tool output found for custom tool call c1."),
        ({"input": [CUSTOM_OUTPUT]}, None, "No tool call found for custom tool call output with call_id c1."),
        ({"input": [CUSTOM, FUNCTION_OUTPUT]}, None, "No tool call found for function call output"),
        ({"input": [FUNCTION, CUSTOM_OUTPUT]}, None, "No tool call found for custom tool call output"),
        ({"input": [{**CUSTOM, "arguments": "{}"}, CUSTOM_OUTPUT]}, "unknown_parameter", "'input[0].arguments'"),
        ({"input": [{**CUSTOM, "input": {}}]}, "missing_required_parameter", "'input[0].input'"),
        ({"tools": [{**TOOL, "parameters": {}}]}, "unknown_parameter", "'tools[0].parameters'"),
        ({"tools": [{"type": "custom"}]}, "missing_required_parameter", "'tools[0].name'"),
        ({"tools": [{**TOOL, "format": {**GRAMMAR, "syntax": "bnf"}}]}, "invalid_value", "'lark', 'regex'"),
        ({"tools": [{**TOOL, "format": {"type": "xml"}}]}, "invalid_value", "'grammar', 'text'"),
        (
            {"tools": [{**TOOL, "format": {"type": "grammar", "syntax": "lark"}}]},
            "missing_required_parameter",
            "format",
        ),
        (image(image_url="picture.png"), "invalid_value", "valid URL"),
        (image(image_url=None), "missing_required_parameter", "'input[1].output[0].image_url'"),
        (image(detail="sharp"), "invalid_value", "'sharp'"),
        (image(type="output_text"), "invalid_value", "'output_text'"),
        (schema({"schema": {**SCHEMA, "required": []}}), "invalid_json_schema", "'answer': strict needs"),
        (schema({"schema": {"type": "array", "items": {"type": "object"}}}), "invalid_json_schema", "strict needs"),
        (schema({"name": "my answer"}), "invalid_value", "text.format.name"),
        (schema({"schema": None}), "missing_required_parameter", "'text.format.schema'"),
        ({"text": {"format": {"type": "yaml"}}}, "invalid_value", "'yaml'"),
    ],
)
async def test_a_request_the_api_refuses_is_refused_with_its_error(
    body: dict[str, Any], code: str | None, said: str
) -> None:
    status, answer = await post(body)
    assert (status, answer["error"]["code"]) == (400, code)
    assert said in answer["error"]["message"]
