"""Arguments and environment, without starting anything."""

from __future__ import annotations

import io
import json
import os
import tempfile
import threading
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_api.rows import RowKind, SandboxMode, SessionSettings
from codex_api.session import ApprovalPolicy
from codex_client.local.arguments import money, working_directory
from codex_client.local.command_environment import command_environment
from codex_client.local.config import LocalConfig
from codex_client.local.errors import SessionInUse, UsageError
from codex_client.local.journal_file import newest_schema
from codex_client.local.output_schema import problem_of, read_output_schema
from codex_client.local.prompt import full_prompt
from codex_client.local.providers import provider_digest, require_price, require_provider
from codex_client.local.session_list import state_of, unfinished_turn, waiting_messages
from codex_client.local.session_lock import SessionLock, is_locked, last_run
from codex_client.local.session_options import SessionOptions, SettingsChange
from codex_journal import migrating
from codex_journal.rows import Row


def test_commands_see_no_secret() -> None:
    secrets = {
        "OPENAI_API_KEY": "sk", "AWS_SECRET_ACCESS_KEY": "x", "GITHUB_TOKEN": "x", "db_password": "x",
        "DATABASE_URL": "postgres://user:word@host/db", "GOOGLE_APPLICATION_CREDENTIALS": "/file",
        "SSH_AUTH_SOCK": "/tmp/agent", "CODEX_MODEL": "m", "TEMPORAL_ADDRESS": "a",
    }  # fmt: skip
    harmless = {"PATH": "/bin", "HOME": "/home/me", "LANG": "C", "http_proxy": "http://proxy:3128", "VIRTUAL_ENV": "/v"}
    assert command_environment(secrets | harmless) == harmless


@pytest.mark.parametrize(
    "name",
    [
        "DB_PASS", "MYSQL_PWD", "GH_PAT", "GITHUB_PAT", "NPM_AUTH", "AUTHORIZATION", "SENTRY_DSN", "SLACK_WEBHOOK_URL",
        "COOKIE", "BW_SESSION", "PRIVATE_PEM", "AZURE_STORAGE_CONNECTION_STRING", "CONTAINER_HOST", "XAUTHORITY",
        "BASH_ENV", "ENV", "LD_PRELOAD", "LD_AUDIT", "KUBECONFIG", "AWS_PROFILE", "WAYLAND_DISPLAY", "DOCKER_CONTEXT",
    ],
)  # fmt: skip
def test_names_of_secrets_and_doors_are_known(name: str) -> None:
    assert command_environment({name: "v"}) == {}


@pytest.mark.parametrize(
    "name",
    [
        "PWD", "OLDPWD", "PATH", "JAVA_HOME", "GOPATH", "VIRTUAL_ENV", "NVM_DIR", "NODE_PATH", "PYTHONPATH", "CC",
        "GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "LD_LIBRARY_PATH", "PATTERN", "HTTPS_PROXY", "NO_PROXY",
    ],
)  # fmt: skip
def test_what_a_developer_needs_stays(name: str) -> None:
    assert command_environment({name: "http://proxy:3128"}) == {name: "http://proxy:3128"}


@pytest.mark.parametrize(
    ("value", "secret"),
    [
        ("postgres://user:pass/word@host/db", True),
        ("https://user:word@proxy:3128", True),
        ("redis://:word@host", True),
        ("https://ghp_token@github.com/o/r", True),
        ("ssh://git@host/repository", False),
        ("https://host:8080/path", False),
        ("git@host:repository", False),
    ],
)
def test_a_password_within_an_address_is_a_secret(value: str, secret: bool) -> None:
    assert (command_environment({"ADDRESS": value}) == {}) is secret


def test_an_empty_variable_counts_as_not_set() -> None:
    config = LocalConfig.of({"OPENAI_API_KEY": "", "CODEX_MODEL": "", "TEMPORAL_ADDRESS": "", "HOME": "/home/me"})
    assert (config.api_key, config.model, config.temporal_address) == (None, None, None)
    assert config.state.root == Path("/home/me/.local/state/codex-temporal")
    assert "sk-secret" not in repr(LocalConfig.of({"OPENAI_API_KEY": "sk-secret"}))


@pytest.mark.parametrize("address", ["http://localhost:7233", "https://localhost:7233/", "localhost:7233"])
def test_temporals_address_may_be_a_url(address: str) -> None:
    assert LocalConfig.of({"TEMPORAL_ADDRESS": address}).temporal_address == "localhost:7233"


def test_without_a_sandbox_every_unknown_command_is_asked_for(tmp_path: Path) -> None:
    assert SessionOptions(tmp_path).policy is ApprovalPolicy.ON_REQUEST
    assert SessionOptions(tmp_path, sandbox=SandboxMode.NONE).policy is ApprovalPolicy.UNTRUSTED
    never = SessionOptions(tmp_path, sandbox=SandboxMode.NONE, approval_policy=ApprovalPolicy.NEVER)
    assert never.policy is ApprovalPolicy.NEVER


def test_settings_are_those_of_one_machine(tmp_path: Path) -> None:
    settings = SessionOptions(tmp_path, max_cost=Decimal("1.5000001")).settings("default-model")
    assert settings.model == "default-model"
    assert settings.max_cost_millionths == 1_500_000
    assert (settings.park_when_mendable, settings.isolation_required) == (False, False)
    assert settings.workspace == str(tmp_path)


def test_what_is_not_given_stays_as_it_was() -> None:
    settings = SessionSettings(model="a", max_steps=7, max_tokens=9)
    changed = SettingsChange(max_steps=8, max_cost=Decimal(2)).applied_to(settings)
    assert (changed.model, changed.max_steps, changed.max_tokens, changed.max_cost_millionths) == ("a", 8, 9, 2_000_000)


@pytest.mark.parametrize("text", ["", "much", "-1", "0", "nan", "inf", "1e12"])
def test_what_is_no_amount_of_money_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--max-cost"):
        money(text)


def test_the_folder_is_absolute_and_its_links_resolved(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert working_directory(tmp_path / "link", SandboxMode.READ_ONLY) == (tmp_path / "real").resolve()


@pytest.mark.parametrize("folder", ["/dev", "/dev/shm", "/proc", "/proc/sys", "/sys", "/sys/kernel"])
def test_no_sandbox_is_made_in_what_the_kernel_shows(folder: str) -> None:
    for mode in (SandboxMode.WORKSPACE_WRITE, SandboxMode.READ_ONLY):
        with pytest.raises(UsageError, match=f"cannot work in {folder}: no sandbox can be made in /dev, /proc, /sys"):
            working_directory(Path(folder), mode)
    assert working_directory(Path(folder), SandboxMode.NONE) == Path(folder)


def test_a_folder_in_shared_memory_can_be_worked_in() -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        assert working_directory(Path(folder), SandboxMode.WORKSPACE_WRITE) == Path(folder)


class Piped(io.StringIO):
    def fileno(self) -> int:
        raise OSError("not a file")


def piped(content: bytes, encoding: str) -> io.TextIOWrapper:
    """Return a standard input that holds some bytes, as Python opens it in a locale."""
    reading, writing = os.pipe()
    os.write(writing, content)
    os.close(writing)
    return open(reading, encoding=encoding)


def test_a_prompt_that_is_no_utf_8_is_read_nevertheless() -> None:
    with piped(b"caf\xe9 \xc3\xa9", "ascii") as stdin:
        assert full_prompt("-", stdin) == "caf\ufffd \u00e9"
    with piped(b"", "ascii") as stdin:
        assert full_prompt(os.fsdecode(b"caf\xe9 \xc3\xa9"), stdin) == "caf\ufffd \u00e9"
    with piped(b"\xff", "ascii") as stdin:
        assert full_prompt("Read: \ud800", stdin) == "Read: ?\n\n<stdin>\n\ufffd\n</stdin>"


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ([], "is a list"),
        ({}, "says nothing"),
        ({"type": "objekt"}, "has the type 'objekt'"),
        ({"type": "object", "properties": []}, "properties is a list"),
        ({"type": "object", "properties": {"a": "string"}}, "properties.a is a text"),
        ({"type": "object", "required": "a"}, "required is no list"),
        ({"type": "array", "items": {"anyOf": {}}}, "anyOf is"),
    ],
)
def test_a_mistake_in_a_schema_is_named(schema: object, problem: str) -> None:
    assert problem in str(problem_of(schema))


def test_a_schema_of_the_real_kind_is_taken(tmp_path: Path) -> None:
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "description": "who"},
            "ages": {"type": "array", "items": {"type": ["integer", "null"]}},
            "kind": {"enum": ["a", "b"]},
            "next": {"$ref": "#/$defs/next"},
        },
        "required": ["name"],
        "additionalProperties": False,
        "$defs": {"next": {"anyOf": [{"type": "null"}, {"type": "string"}]}},
    }
    (tmp_path / "schema.json").write_text(json.dumps(schema))
    assert read_output_schema(tmp_path / "schema.json") == schema
    (tmp_path / "list.json").write_text(json.dumps({"type": "array", "items": {"type": "string"}}))
    with pytest.raises(UsageError, match="outermost"):
        read_output_schema(tmp_path / "list.json")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["object", "string"]),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.sampled_from(["type", "properties", "items", "anyOf", "x"]), inner)
        | st.fixed_dictionaries(
            {"type": st.just("object")},
            optional={"properties": st.dictionaries(st.sampled_from("ab"), inner), "anyOf": st.lists(inner)},
        )
    ),
)


@given(json_values)
def test_whatever_stands_in_a_schema_file_is_judged(value: Any) -> None:
    problem = problem_of(value)
    if problem is None:
        assert {"type", "anyOf"} & value.keys()
        assert all(problem_of(part) is None for part in value.get("anyOf", []))
        assert all(problem_of(part) is None for part in value.get("properties", {}).values())
    else:
        assert problem.startswith(("the schema", "properties.", "items", "anyOf["))


def test_the_newest_schema_is_the_one_that_migrations_lead_to() -> None:
    assert newest_schema() == migrating.newest()


def row(seq: int, kind: RowKind, payload: dict[str, Any], turn: int = 0) -> Row:
    return Row("s", seq, turn, 0, 0, kind, f"claim-{seq}", 0, payload, datetime.now(UTC))


def test_how_a_session_stands_is_read_from_its_rows() -> None:
    message = row(1, RowKind.MESSAGE, {"key": "k", "text": "Hi.", "delivery": "Steer"})
    started = row(2, RowKind.EVENT, {"type": "TurnStarted", "turn": 1, "message": 1}, 1)
    done = row(3, RowKind.EVENT, {"type": "TurnComplete", "turn": 1}, 1)
    interrupted = row(3, RowKind.EVENT, {"type": "TurnAborted", "turn": 1, "reason": "Interrupted"}, 1)
    failed = row(3, RowKind.EVENT, {"type": "TurnFailed", "turn": 1, "reason": "ModelUnknown"}, 1)
    limited = row(3, RowKind.EVENT, {"type": "TurnAborted", "turn": 1, "reason": "StepLimitReached"}, 1)
    states = [
        state_of(rows, closed=False, running=False)
        for rows in (
            [],
            [message],
            [message, started],
            [message, started, done],
            [message, started, interrupted],
            [message, started, failed],
            [message, started, limited],
        )
    ]
    assert states == ["new", "unfinished", "unfinished", "done", "interrupted", "failed", "stopped"]
    assert state_of([message], closed=True, running=False) == "closed"
    assert state_of([message], closed=False, running=True) == "running"
    assert (unfinished_turn([message, started]), unfinished_turn([message, started, done])) == (1, None)
    assert waiting_messages([message]) == [message]
    assert waiting_messages([message, started]) == []


def test_a_session_is_locked_by_one_at_a_time(tmp_path: Path) -> None:
    assert not is_locked(tmp_path, "s")
    assert last_run(tmp_path, "s") == 0.0
    with SessionLock(tmp_path, "s"):
        assert is_locked(tmp_path, "s")
        with pytest.raises(SessionInUse, match="in use by process"), SessionLock(tmp_path, "s"):
            pass
    assert not is_locked(tmp_path, "s")
    assert last_run(tmp_path, "s") > 0


def test_a_look_at_a_session_keeps_nobody_from_taking_it(tmp_path: Path) -> None:
    over = threading.Event()
    looks, taken = 0, 0

    def look() -> None:
        nonlocal looks
        while not over.is_set():
            is_locked(tmp_path, "s")
            looks += 1

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for _ in range(200):
            with SessionLock(tmp_path, "s"):
                taken += 1
    finally:
        over.set()
        looking.join()
    assert taken == 200
    assert looks > 0


def test_a_digest_tells_providers_apart_and_no_key(tmp_path: Path) -> None:
    def digest(salt: str = "salt", **environment: str) -> str:
        return provider_digest(LocalConfig.of({"HOME": "/home/me", **environment}), salt)

    one = digest(OPENAI_API_KEY="sk-one")
    assert digest(OPENAI_API_KEY="sk-one", CODEX_MODEL="another") == one
    others = [
        digest(OPENAI_API_KEY="sk-two"),
        digest(OPENAI_API_KEY="sk-one", OPENAI_BASE_URL="http://127.0.0.1:1/v1"),
        digest("another salt", OPENAI_API_KEY="sk-one"),
    ]
    (tmp_path / "providers.yaml").write_text("providers: {}")
    others.append(digest(OPENAI_API_KEY="sk-one", CODEX_PROVIDERS_FILE=str(tmp_path / "providers.yaml")))
    (tmp_path / "providers.yaml").write_text("providers: {}\n")
    others.append(digest(OPENAI_API_KEY="sk-one", CODEX_PROVIDERS_FILE=str(tmp_path / "providers.yaml")))
    assert len({one, *others}) == 6
    assert "sk-one" not in one
    with pytest.raises(UsageError, match="CODEX_PROVIDERS_FILE"):
        digest(CODEX_PROVIDERS_FILE=str(tmp_path / "nowhere"))


@pytest.mark.parametrize("address", ["localhost:8080", "htp://host/v1", "/v1", "http://", "http://[::1"])
def test_what_is_no_address_of_a_model_is_refused(address: str) -> None:
    config = LocalConfig.of({"HOME": "/home/me", "OPENAI_API_KEY": "sk", "OPENAI_BASE_URL": address})
    with pytest.raises(UsageError, match="OPENAI_BASE_URL"):
        require_provider(config)


def test_a_limit_on_cost_needs_the_price_of_the_model(tmp_path: Path) -> None:
    prices = {"input": "1", "cachedInput": "1", "output": "1"}
    provider = {"baseUrl": "http://host/v1", "models": {"priced": {"prices": prices}}}
    (tmp_path / "providers.yaml").write_text(json.dumps({"providers": {"default": provider}}))
    without = LocalConfig.of({"HOME": "/home/me"})
    config = LocalConfig.of({"HOME": "/home/me", "CODEX_PROVIDERS_FILE": str(tmp_path / "providers.yaml")})
    limited = SessionSettings(model="priced", max_cost_millionths=1)
    require_price(config, limited)
    require_price(without, SessionSettings(model="priced"))
    with pytest.raises(UsageError, match="prices of model priced in CODEX_PROVIDERS_FILE"):
        require_price(without, limited)
    with pytest.raises(UsageError, match="prices of model another"):
        require_price(config, limited.model_copy(update={"model": "another"}))


def test_a_prompt_that_says_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot read the prompt"):
        full_prompt("-", Piped("text"))
