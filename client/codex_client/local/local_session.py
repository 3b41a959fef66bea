"""A session with all that it needs on this machine, from its lock to its sandbox; one process at a time has it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from codex_api.rows import RowKind, SandboxMode, SessionSettings
from codex_client.event_source import JournalEvents
from codex_client.local.config import LocalConfig
from codex_client.local.errors import LocalError, UsageError, cut_off, translated
from codex_client.local.kept_session import KeptSession
from codex_client.local.logs import log_file
from codex_client.local.providers import default_model, require_price, secret_files
from codex_client.local.runtime import LocalRuntime
from codex_client.local.sandbox import LocalSandbox
from codex_client.local.session_control import SessionControl
from codex_client.local.session_options import SessionOptions, SettingsChange
from codex_client.local.worker_socket import NewSession, begin_session

if TYPE_CHECKING:
    from codex_journal.journal import Journal
    from codex_journal.rows import Row, SessionRecord
    from codex_worker.deltas import OnDelta

LAST_ROWS_SECONDS = 1.5


@dataclass(frozen=True)
class LocalSession:
    settings: SessionSettings
    control: SessionControl
    events: JournalEvents
    sandbox: LocalSandbox
    runtime: LocalRuntime
    earlier: list[Row]
    """Rows of a session that goes on, from before."""
    message: int
    """Seq of the message that the session began with; 0 where none was given."""
    keeping: asyncio.Task[None]
    """Replaces the sandbox whenever it ends; done where that cannot be."""

    async def failed(self) -> LocalError:
        """Wait until no turn can go on here, and return why."""
        reasons = (self.runtime.failed(), self._workflow_ended(), self._sandbox_lost())
        causes = [asyncio.create_task(reason) for reason in reasons]
        try:
            done, _ = await asyncio.wait(causes, return_when=asyncio.FIRST_COMPLETED)
            # What was journaled last may have ended the turn in good order.
            await asyncio.sleep(LAST_ROWS_SECONDS)
            return done.pop().result()
        finally:
            for cause in causes:
                cause.cancel()
            await asyncio.wait(causes)

    async def _workflow_ended(self) -> LocalError:
        return cut_off(await self.control.ended(), self.control.session)

    async def _sandbox_lost(self) -> LocalError:
        await asyncio.wait([self.keeping])
        what = f"the sandbox has ended and cannot be started again: {self.keeping.exception()}"
        return cut_off(what, self.control.session)


@asynccontextmanager
async def new_session(
    session: str,
    options: SessionOptions,
    config: LocalConfig,
    prompt: str | None,
    on_delta: OnDelta | None,
    kept: KeptSession,
) -> AsyncIterator[LocalSession]:
    """Create a session of this id and run it; raises LocalError."""
    async with AsyncExitStack() as stack:
        with translated(config.state.root):
            local = await _new(stack, session, options, config, prompt, on_delta, kept)
        yield local


async def _new(
    stack: AsyncExitStack,
    session: str,
    options: SessionOptions,
    config: LocalConfig,
    prompt: str | None,
    on_delta: OnDelta | None,
    kept: KeptSession,
) -> LocalSession:
    workflow_id = SessionControl.workflow_id(_name(options.directory), session)
    config.state.create()
    kept.lock(config.state.locks, session)
    runtime = await stack.enter_async_context(LocalRuntime(config, session))
    shared = runtime.shared
    settings = options.settings(config.model or (shared.default_model if shared else default_model(config)))
    require_price(config, settings)
    sandbox = kept.sandbox(lambda: _sandbox(config, settings, session))
    # Both take a while to come up, and Python to import what follows.
    await runtime.begin()
    await sandbox.start(1)
    message = 0
    if shared is not None and prompt is not None:
        await sandbox.wait_until_ready()
        new = NewSession(workflow_id=workflow_id, settings=settings, sandbox_socket=sandbox.socket, prompt=prompt)
        message = await begin_session(shared.socket, new)
    journal = await _journal(stack, config)
    await sandbox.wait_until_ready()
    await runtime.connect()
    control = SessionControl(runtime.client, journal, workflow_id)
    if not message:
        message = await control.create(settings, sandbox.socket, prompt)
        await runtime.start_worker(journal, on_delta)
        await control.start(runtime.task_queue, afresh=False)
    else:
        await runtime.start_worker(journal, on_delta)
    events = _events(stack, journal, session, 0)
    keeping = _keeping(stack, config, sandbox, control)
    return LocalSession(settings, control, events, sandbox, runtime, [], message, keeping)


@asynccontextmanager
async def resumed_session(
    prefix: str | None, config: LocalConfig, change: SettingsChange, on_delta: OnDelta | None, kept: KeptSession
) -> AsyncIterator[LocalSession]:
    """Go on with a session; raises LocalError."""
    async with AsyncExitStack() as stack:
        with translated(config.state.root):
            local = await _resumed(stack, prefix, config, change, on_delta, kept)
        yield local


async def _resumed(
    stack: AsyncExitStack,
    prefix: str | None,
    config: LocalConfig,
    change: SettingsChange,
    on_delta: OnDelta | None,
    kept: KeptSession,
) -> LocalSession:
    from codex_client.local.session_list import find_session

    config.state.create()
    journal = await _journal(stack, config)
    record = await find_session(journal, config.state.locks, prefix)
    session = record.session
    if record.closed:
        raise UsageError(f"session {session[:8]} is closed; begin another with: codex-temporal run")
    _check_folder(record)
    kept.lock(config.state.locks, session)
    runtime = await stack.enter_async_context(LocalRuntime(config, session))
    settings = change.applied_to(record.settings)
    require_price(config, settings)
    workflow_id = SessionControl.workflow_id(record.name, session)
    sandbox = kept.sandbox(lambda: _sandbox(config, settings, session))
    await runtime.begin()
    # A workflow reads its settings when it starts, and two of one session would not know of each other.
    changed = settings != record.settings
    if changed or runtime.shared is None:
        await runtime.end_workflow_of_worker(workflow_id)
    earlier = await journal.read(session)
    announced = sum(row.kind is RowKind.SANDBOX_ADDRESS for row in earlier)
    if not sandbox.running:
        await sandbox.start(1 + max(announced, sandbox.generation))
    await sandbox.wait_until_ready()
    await runtime.connect()
    if changed:
        await journal.change_settings(session, settings)
    control = SessionControl(runtime.client, journal, workflow_id)
    events = _events(stack, journal, session, earlier[-1].seq if earlier else 0)
    if sandbox.generation > announced:
        await control.announce(sandbox.generation, sandbox.socket)
    await runtime.start_worker(journal, on_delta)
    await _take_up(control, runtime)
    keeping = _keeping(stack, config, sandbox, control)
    return LocalSession(settings, control, events, sandbox, runtime, earlier, 0, keeping)


async def _take_up(control: SessionControl, runtime: LocalRuntime) -> None:
    """Start the workflow where the journal says it stopped, or leave it running where it does."""
    if runtime.shared is None or await control.runs_elsewhere(runtime.task_queue):
        await control.start(runtime.task_queue, afresh=True)
        return
    await control.start(runtime.task_queue, afresh=False)
    await control.signal_again()


def _keeping(
    stack: AsyncExitStack, config: LocalConfig, sandbox: LocalSandbox, control: SessionControl
) -> asyncio.Task[None]:
    async def announce(sandbox: LocalSandbox) -> None:
        await control.announce(sandbox.generation, sandbox.socket)

    async def keep() -> None:
        with translated(config.state.root):
            await sandbox.keep(announce)

    task = asyncio.create_task(keep())
    stack.push_async_callback(_cancel, task)
    return task


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


async def _journal(stack: AsyncExitStack, config: LocalConfig) -> Journal:
    from codex_client.local.journal_file import local_journal

    return await stack.enter_async_context(local_journal(config.state))


def _events(stack: AsyncExitStack, journal: Journal, session: str, after: int) -> JournalEvents:
    events = JournalEvents(journal, session, after)
    stack.push_async_callback(events.close)
    return events


def _sandbox(config: LocalConfig, settings: SessionSettings, session: str) -> LocalSandbox:
    return LocalSandbox(
        mode=SandboxMode(settings.sandbox_mode),
        workspace=Path(settings.workspace),
        session=session,
        home=config.home,
        hidden=[config.state.root, *secret_files(config)],
        runtime_folder=config.runtime_folder,
        log=log_file(config.state.logs, "sandbox.log"),
        program_path=config.program_path,
        environment=config.command_environment,
    )


def _check_folder(record: SessionRecord) -> None:
    if not os.path.isdir(record.settings.workspace):
        raise UsageError(f"the folder of session {record.session[:8]} is gone: {record.settings.workspace}")


def _name(directory: Path) -> str:
    """Return what the workflow is called in Temporal's own lists."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in directory.name)[:60] or "root"
