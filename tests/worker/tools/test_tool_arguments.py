"""Arguments as models write them, and what they are told when they cannot be used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_worker.tools.apply_patch import ApplyPatchArguments
from codex_worker.tools.exec_command import (
    MAX_TEXT_BYTES,
    BadArguments,
    ExecCommandArguments,
    ToolArguments,
    WriteStdinArguments,
    parse_arguments,
)
from codex_worker.tools.preparations import FUNCTIONS
from codex_worker.tools.request_user_input import RequestUserInputArguments
from codex_worker.tools.schemas import tool_definitions
from codex_worker.tools.update_plan import UpdatePlanArguments
from codex_worker.tools.view_image import ViewImageArguments


def test_left_out_arguments_have_the_defaults_models_were_trained_with() -> None:
    parsed = parse_arguments(ExecCommandArguments, '{"cmd": "ls"}')
    assert parsed.model_dump() == {
        "cmd": "ls",
        "workdir": None,
        "shell": None,
        "login": True,
        "tty": False,
        "yield_time_ms": 10_000,
        "max_output_tokens": 10_000,
        "sandbox_permissions": "use_default",
        "justification": "",
    }
    assert parse_arguments(WriteStdinArguments, '{"session_id": 3}').model_dump() == {
        "session_id": 3,
        "chars": "",
        "yield_time_ms": 250,
        "max_output_tokens": 10_000,
    }


def test_null_counts_as_left_out_and_unknown_arguments_are_ignored() -> None:
    names = (
        "workdir",
        "shell",
        "login",
        "tty",
        "yield_time_ms",
        "max_output_tokens",
        "justification",
        "sandbox_permissions",
    )
    text = json.dumps({"cmd": "ls", "prefix_rule": ["ls"], **dict.fromkeys(names)})
    assert parse_arguments(ExecCommandArguments, text) == parse_arguments(ExecCommandArguments, '{"cmd": "ls"}')


@pytest.mark.parametrize(
    ("arguments", "waits", "reads"),
    [
        ({"cmd": "ls", "yield_time_ms": 1, "max_output_tokens": 0}, 250, 1),
        ({"cmd": "ls", "yield_time_ms": 999_999, "max_output_tokens": 999_999}, 30_000, 10_000),
        ({"cmd": "ls", "yield_time_ms": 1_000, "max_output_tokens": 500}, 1_000, 500),
        ({"session_id": 1}, 5_000, 10_000),
        ({"session_id": 1, "yield_time_ms": 999_999}, 300_000, 10_000),
        ({"session_id": 1, "chars": "y", "yield_time_ms": 0}, 250, 10_000),
        ({"session_id": 1, "chars": "y", "yield_time_ms": 999_999}, 30_000, 10_000),
    ],
)
def test_times_and_sizes_are_clamped(arguments: dict[str, Any], waits: int, reads: int) -> None:
    text = json.dumps(arguments)
    clamped = (
        parse_arguments(ExecCommandArguments, text).clamped()
        if "cmd" in arguments
        else parse_arguments(WriteStdinArguments, text).clamped()
    )
    assert (clamped.yield_time_ms, clamped.max_output_tokens) == (waits, reads)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "arguments must be a JSON text"),
        ({"cmd": "ls"}, "arguments must be a JSON text"),
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"cmd": "ls", "yield_time_ms": ' + "9" * 5000 + "}", "not JSON"),
        ("[]", "expected a JSON object"),
        ("{}", "missing field `cmd`"),
        ('{"cmd": null}', "`cmd` Input should be a valid string"),
        ('{"cmd": ["ls"]}', "`cmd` Input should be a valid string"),
        ('{"cmd": " "}', "`cmd` is empty"),
        ('{"cmd": "ls\\u0000"}', "`cmd` holds a NUL character"),
        ('{"cmd": "\\ud800"}', "`cmd` holds half of a surrogate pair"),
        (json.dumps({"cmd": "x" * (MAX_TEXT_BYTES + 1)}), "`cmd` is longer than 131071 bytes"),
        ('{"cmd": "ls", "workdir": 1}', "`workdir` Input should be a valid string"),
        (json.dumps({"cmd": "ls", "workdir": "x" * 2000}), "`workdir` is longer than 1024 bytes"),
        ('{"cmd": "ls", "shell": ""}', "`shell` is empty"),
        ('{"cmd": "ls", "tty": "true"}', "`tty` Input should be a valid boolean"),
        ('{"cmd": "ls", "login": 1}', "`login` Input should be a valid boolean"),
        ('{"cmd": "ls", "yield_time_ms": "5"}', "`yield_time_ms` Input should be a valid integer"),
        ('{"cmd": "ls", "yield_time_ms": NaN}', "`yield_time_ms` Input should be a valid integer"),
        ('{"cmd": "ls", "yield_time_ms": -1}', "`yield_time_ms` Input should be greater than or equal to 0"),
        ('{"cmd": 1, "tty": 2}', "`cmd` Input should be a valid string; `tty` Input should be a valid boolean"),
    ],
)
def test_bad_arguments_are_named(text: object, problem: str) -> None:
    with pytest.raises(BadArguments) as error:
        parse_arguments(ExecCommandArguments, text)
    assert problem in str(error.value)


@pytest.mark.parametrize("text", ['{"session_id": "1"}', '{"session_id": true}', '{"session_id": -1}', "{}"])
def test_a_process_is_named_by_its_number(text: str) -> None:
    with pytest.raises(BadArguments, match="session_id"):
        parse_arguments(WriteStdinArguments, text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(st.text() | json_values.map(json.dumps) | st.fixed_dictionaries({"cmd": json_values}).map(json.dumps))
def test_whatever_a_model_writes_is_read_or_refused(text: str) -> None:
    for model in (ExecCommandArguments, WriteStdinArguments):
        try:
            parse_arguments(model, text)
        except BadArguments as error:
            assert str(error)  # noqa: PT017  (both endings are right)


ARGUMENTS: dict[str, type[ToolArguments]] = {
    "exec_command": ExecCommandArguments,
    "write_stdin": WriteStdinArguments,
    "apply_patch": ApplyPatchArguments,
    "update_plan": UpdatePlanArguments,
    "view_image": ViewImageArguments,
    "request_user_input": RequestUserInputArguments,
}


@pytest.mark.parametrize("tool", ARGUMENTS)
def test_the_schema_a_model_sees_is_that_of_the_arguments(tool: str) -> None:
    model = ARGUMENTS[tool]
    definition = next(definition for definition in tool_definitions() if definition["name"] == tool)
    parameters = definition["parameters"]
    jsonschema.Draft202012Validator.check_schema(parameters)
    assert set(parameters["properties"]) == set(model.model_fields)
    assert parameters["required"] == [name for name, field in model.model_fields.items() if field.is_required()]
    assert (definition["type"], definition["strict"], parameters["additionalProperties"]) == ("function", False, False)
    assert all(argument["description"] for argument in parameters["properties"].values())


def test_every_defined_tool_is_one_that_runs() -> None:
    for freeform in (False, True):
        assert {definition["name"] for definition in tool_definitions(freeform)} == set(FUNCTIONS) == set(ARGUMENTS)


def test_a_patch_is_freeform_for_models_that_learnt_it_so() -> None:
    [patch] = [definition for definition in tool_definitions(freeform_patch=True) if definition["type"] == "custom"]
    assert (patch["name"], patch["format"]["type"], patch["format"]["syntax"]) == ("apply_patch", "grammar", "lark")
    for marker in ("*** Begin Patch", "*** Add File: ", "*** Update File: ", "*** Move to: ", "*** End of File"):
        assert marker in patch["format"]["definition"]


@pytest.mark.parametrize("seed", ["1", "2"])
def test_the_definitions_are_the_same_bytes_in_every_process(seed: str) -> None:
    program = (
        "import json; from codex_worker.tools.schemas import tool_definitions;"
        "print(json.dumps([tool_definitions(False), tool_definitions(True)]))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == json.dumps([tool_definitions(False), tool_definitions(True)]) + "\n"
