"""The client under test and the scripted model it talks to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from codex_client.model_server.testing import ScriptedModel
from codex_worker.responses.client import ResponsesModel
from codex_worker.responses.request import ModelRequest

MakeRequest = Callable[..., ModelRequest]


@pytest.fixture
async def server() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel(replies=[{"text": "Hello."}], require_key="the-key") as running:
        yield running


@pytest.fixture
async def model() -> AsyncIterator[ResponsesModel]:
    client = ResponsesModel(connect_timeout_seconds=2.0, idle_timeout_seconds=0.5)
    yield client
    await client.close()


@pytest.fixture
def make_request(server: ScriptedModel) -> MakeRequest:
    def make(**changes: Any) -> ModelRequest:
        usual: dict[str, Any] = {
            "base_url": server.base_url,
            "api_key": "the-key",
            "session": "session-uid",
            "model": "gpt-5.4",
            "instructions": "Be brief.",
            "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello?"}]}],
        }
        return ModelRequest(**{**usual, **changes})

    return make
