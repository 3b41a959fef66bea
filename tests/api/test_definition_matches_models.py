"""crds/codexsessions.yaml and codex_api say the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from codex_api import conditions, names
from codex_api.session import Phase, SessionSpec, SessionStatus
from codex_cluster.layout import REPOSITORY

Schema = dict[str, Any]
BOUNDS = ("minimum", "maximum", "minLength", "maxLength", "pattern", "enum", "default", "required")


def definition() -> Schema:
    loaded: Schema = yaml.safe_load((REPOSITORY / "crds" / "codexsessions.yaml").read_text())
    return loaded


def root() -> Schema:
    schema: Schema = definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def of_model(model: type[BaseModel]) -> Schema:
    """The model's JSON schema without references, null and titles."""
    schema = model.model_json_schema(by_alias=True)
    definitions = schema.pop("$defs", {})

    def plain(node: Schema) -> Schema:
        while "$ref" in node or "anyOf" in node:
            if "$ref" in node:
                node = {
                    **definitions[node["$ref"].rsplit("/", 1)[-1]],
                    **{k: v for k, v in node.items() if k != "$ref"},
                }
            else:
                (choice,) = (option for option in node["anyOf"] if option.get("type") != "null")
                node = {**choice, **{k: v for k, v in node.items() if k not in {"anyOf", "default"}}}
        node = {
            key: value for key, value in node.items() if key not in {"title", "description", "additionalProperties"}
        }
        if node.get("default", 0) is None:
            del node["default"]
        if "properties" in node:
            node["properties"] = {key: plain(child) for key, child in node["properties"].items()}
        if "items" in node:
            node["items"] = plain(node["items"])
        return node

    return plain(schema)


def fields(schema: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    yield path, schema
    for key, child in schema.get("properties", {}).items():
        yield from fields(child, f"{path}.{key}")
    if "items" in schema:
        yield from fields(schema["items"], f"{path}[]")


def kind(schema: Schema) -> str:
    # A quantity may be written as a number; the model takes both and keeps text.
    return "string" if schema.get("x-kubernetes-int-or-string") else schema["type"]


def test_the_definition_has_the_names_that_the_code_uses() -> None:
    spec = definition()["spec"]
    assert definition()["metadata"]["name"] == f"{names.PLURAL}.{names.GROUP}"
    assert (spec["group"], spec["names"]["plural"], spec["names"]["kind"]) == (names.GROUP, names.PLURAL, names.KIND)
    assert [version["name"] for version in spec["versions"]] == [names.VERSION]


@pytest.mark.parametrize(("part", "model"), [("spec", SessionSpec), ("status", SessionStatus)])
def test_both_have_the_same_fields_of_the_same_types(part: str, model: type[BaseModel]) -> None:
    written = {path: kind(schema) for path, schema in fields(root()["properties"][part], part)}
    modelled = {path: kind(schema) for path, schema in fields(of_model(model), part)}
    assert written == modelled


def test_both_have_the_same_bounds_choices_and_defaults_in_the_spec() -> None:
    def told(schema: Schema) -> Schema:
        found = {key: schema[key] for key in BOUNDS if key in schema}
        # In YAML an object's default is empty: the API server fills in the defaults of its fields.
        if schema.get("type") == "object" and "default" in found:
            found["default"] = {}
        return found

    written = dict(fields(root()["properties"]["spec"], "spec"))
    modelled = dict(fields(of_model(SessionSpec), "spec"))
    quantities = {path for path, schema in written.items() if schema.get("x-kubernetes-int-or-string")}
    assert len(quantities) == 6
    for path in written.keys() - quantities:
        assert told(written[path]) == told(modelled[path]), path


def test_both_have_the_same_choices_and_required_fields_in_the_status() -> None:
    written = dict(fields(root()["properties"]["status"], "status"))
    for path, modelled in fields(of_model(SessionStatus), "status"):
        assert written[path].get("required", []) == modelled.get("required", []), path
        assert "enum" not in modelled or written[path]["enum"] == modelled["enum"], path
        # The operator writes a status whole; only a session that it has not seen yet needs a default.
        assert "default" not in written[path] or path == "status", path
    assert written["status"]["default"] == {"phase": Phase.PENDING}


def test_every_field_is_described_in_sentences() -> None:
    for path, schema in fields(root(), "session"):
        if path in {"session.metadata"}:  # the API server refuses a description there
            continue
        assert schema.get("description", "").endswith((".", ").")), path


def test_every_list_and_text_of_the_status_is_bounded() -> None:
    for path, schema in fields(root()["properties"]["status"], "status"):
        if schema["type"] == "array":
            assert schema["maxItems"] <= 32, path
            assert schema["x-kubernetes-list-type"] in {"map", "atomic"}, path
        if schema["type"] == "string" and "enum" not in schema and schema.get("format") != "date-time":
            assert schema["maxLength"], path


def test_the_description_of_the_conditions_names_them_all() -> None:
    text = root()["properties"]["status"]["properties"]["conditions"]["description"]
    assert text.endswith(": " + ", ".join(conditions.ALL_TYPES) + ".")


def test_every_reason_and_condition_is_one_the_schema_allows() -> None:
    import re

    items = root()["properties"]["status"]["properties"]["conditions"]["items"]["properties"]
    for name, value in vars(conditions).items():
        if name.startswith("REASON_"):
            assert re.fullmatch(items["reason"]["pattern"], value), name
