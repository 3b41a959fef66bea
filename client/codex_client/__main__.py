"""The command line. Commands import what they need when they run, so that each starts quickly."""

from __future__ import annotations

try:
    import asyncio
    import contextlib
    import os
    import sys
    from collections.abc import Callable, Coroutine, Iterator
    from enum import StrEnum
    from pathlib import Path
    from typing import TYPE_CHECKING, Annotated, Any, NoReturn

    import typer
except KeyboardInterrupt:
    # Most of the time until a command begins goes by here.
    raise SystemExit(130) from None

if TYPE_CHECKING:
    from codex_client.local.config import LocalConfig

app = typer.Typer(
    name="codex-temporal",
    help="Coding agents that survive: on this machine, or as Kubernetes resources.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_RUN_TEXT = """Let the model work on the current folder: one turn, shown as it goes.

Commands run in a sandbox (bubblewrap): they may read everything but secrets, change this folder (not an
existing .git, .codex or .agents) and a private /tmp, and reach no network.

What is piped in is added to the prompt; with - it is the prompt. Where there is no terminal to ask at, what needs an
approval is denied. Ctrl-C interrupts the turn, a second Ctrl-C leaves. Nothing is lost: `codex-temporal resume`
goes on.

Exit codes: 0 done, 1 failed, 2 usage, 3 a limit was reached, 4 an approval was denied or expired, 130 interrupted.

Environment: OPENAI_API_KEY, OPENAI_BASE_URL, CODEX_MODEL, CODEX_PROVIDERS_FILE, TEMPORAL_ADDRESS, LOG_LEVEL."""
_RESUME_TEXT = """Go on with a session, with all it knows.

No prompt is needed after a turn that did not complete: one that was cut off goes on where it was, and after one that
was interrupted, failed or reached a limit the model is told to go on."""


def _flowing(text: str) -> str:
    """Return a line for each paragraph: the terminal's width decides where it breaks."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


RUN_HELP = _flowing(_RUN_TEXT)


class SandboxChoice(StrEnum):
    WORKSPACE_WRITE = "workspace-write"
    READ_ONLY = "read-only"
    NONE = "none"
    DANGER_FULL_ACCESS = "danger-full-access"


class PolicyChoice(StrEnum):
    UNTRUSTED = "untrusted"
    ON_REQUEST = "on-request"
    NEVER = "never"


class EffortChoice(StrEnum):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


Model = Annotated[str | None, typer.Option("--model", "-m", help="Model to ask; else CODEX_MODEL, or gpt-4o.")]
Effort = Annotated[EffortChoice | None, typer.Option("--reasoning-effort", help="How long the model may think.")]
MaxSteps = Annotated[int | None, typer.Option(min=1, max=10_000, help="Most model calls per turn.  (default: 50)")]
MaxTokens = Annotated[
    int | None, typer.Option(min=1, help="Most uncached tokens of the whole session.  (default: 2000000)")
]
MaxCost = Annotated[
    str | None, typer.Option(metavar="AMOUNT", help="Most money of the whole session; needs CODEX_PROVIDERS_FILE.")
]
Timeout = Annotated[
    int | None, typer.Option(min=1, metavar="SECONDS", help="Most time of a turn, without yours.  (default: 3600)")
]
# A session that goes on keeps what is not said again.
OtherModel = Annotated[str | None, typer.Option("--model", "-m", help="Model to ask; else the session's own.")]
OtherEffort = Annotated[
    EffortChoice | None,
    typer.Option("--reasoning-effort", help="How long the model may think; else the session's own."),
]
OtherMaxSteps = Annotated[
    int | None,
    typer.Option("--max-steps", min=1, max=10_000, help="Most model calls per turn; else the session's own."),
]
OtherMaxTokens = Annotated[
    int | None,
    typer.Option(
        "--max-tokens",
        min=1,
        help="Most uncached tokens of the whole session, with those used; else the session's own.",
    ),
]
OtherMaxCost = Annotated[
    str | None,
    typer.Option(
        "--max-cost",
        metavar="AMOUNT",
        help="Most money of the whole session, with what is spent; else the session's own. Needs CODEX_PROVIDERS_FILE.",
    ),
]
OtherTimeout = Annotated[
    int | None,
    typer.Option("--timeout", min=1, metavar="SECONDS", help="Most time of a turn; else the session's own."),
]
JsonEvents = Annotated[bool, typer.Option("--json", help="Print events as JSON lines, as `codex exec --json` does.")]
LastMessage = Annotated[
    Path | None, typer.Option("--output-last-message", "-o", help="File that gets the model's final message.")
]


@app.callback()
def codex_temporal() -> None:
    """Coding agents that survive: on this machine, or as Kubernetes resources."""


@app.command(help=RUN_HELP)
def run(
    prompt: Annotated[str | None, typer.Argument(help="What to do; - reads it from standard input.")] = None,
    directory: Annotated[Path, typer.Option("--cd", "-C", help="Folder to work in.")] = Path("."),
    model: Model = None,
    reasoning_effort: Effort = None,
    sandbox: Annotated[
        SandboxChoice, typer.Option("--sandbox", "-s", help="What commands may do; none is no sandbox at all.")
    ] = SandboxChoice.WORKSPACE_WRITE,
    approval_policy: Annotated[
        PolicyChoice | None,
        typer.Option(
            "--approval-policy",
            "-a",
            help="When to ask you: for all but known reading commands, for what is marked as risky, or never "
            "(default: on-request; without a sandbox untrusted)",
        ),
    ] = None,
    output_schema: Annotated[
        Path | None, typer.Option(help="File with a JSON schema that the final message has to follow.")
    ] = None,
    output_last_message: LastMessage = None,
    json_events: JsonEvents = False,
    max_steps: MaxSteps = None,
    max_tokens: MaxTokens = None,
    max_cost: MaxCost = None,
    timeout: Timeout = None,
) -> None:
    def work(config: LocalConfig) -> Coroutine[Any, Any, int]:
        from codex_client.local import arguments
        from codex_client.local.output_schema import read_output_schema
        from codex_client.local.prompt import full_prompt
        from codex_client.local.run import Output, run_session
        from codex_client.local.session_options import SessionOptions

        mode = arguments.SANDBOXES[sandbox]
        options = SessionOptions(
            directory=arguments.working_directory(directory, mode),
            sandbox=mode,
            approval_policy=arguments.POLICIES[approval_policy] if approval_policy else None,
            output_schema=read_output_schema(output_schema) if output_schema else None,
            reasoning_effort=arguments.EFFORTS[reasoning_effort] if reasoning_effort else None,
            max_cost=arguments.money(max_cost),
            model=model,
            **arguments.given(max_steps=max_steps, max_tokens=max_tokens, turn_timeout_seconds=timeout),
        )
        output = Output(json_events, output_last_message)
        return run_session(full_prompt(prompt, sys.stdin), options, config, output)

    _local(work)


@app.command(help=_flowing(_RESUME_TEXT))
def resume(
    session: Annotated[str | None, typer.Argument(help="The session's id or how it begins.")] = None,
    prompt: Annotated[str | None, typer.Argument(help="What to do next; - reads it from standard input.")] = None,
    last: Annotated[bool, typer.Option("--last", help="The newest session; then a single argument is the prompt.")] = (
        False
    ),
    compact: Annotated[bool, typer.Option("--compact", help="Have the conversation summarised first.")] = False,
    model: OtherModel = None,
    reasoning_effort: OtherEffort = None,
    output_last_message: LastMessage = None,
    json_events: JsonEvents = False,
    max_steps: OtherMaxSteps = None,
    max_tokens: OtherMaxTokens = None,
    max_cost: OtherMaxCost = None,
    timeout: OtherTimeout = None,
) -> None:
    def work(config: LocalConfig) -> Coroutine[Any, Any, int]:
        from codex_client.local import arguments
        from codex_client.local.errors import UsageError
        from codex_client.local.prompt import FROM_STDIN, full_prompt
        from codex_client.local.run import Output, Resumption, resume_session
        from codex_client.local.session_options import SettingsChange

        if last and prompt is not None:
            raise UsageError("--last takes the newest session: leave out its id")
        if not last and session is None:
            raise UsageError("say which session: its id or --last; codex-temporal sessions lists them")
        text = session if last else prompt
        change = SettingsChange(
            model=model,
            reasoning_effort=arguments.EFFORTS[reasoning_effort] if reasoning_effort else None,
            max_cost=arguments.money(max_cost),
            **arguments.given(max_steps=max_steps, max_tokens=max_tokens, turn_timeout_seconds=timeout),
        )
        resumption = Resumption(
            prefix=None if last else session,
            prompt=full_prompt(text, sys.stdin) if text == FROM_STDIN else text,
            compact=compact,
            change=change,
        )
        return resume_session(resumption, config, Output(json_events, output_last_message))

    _local(work)


@app.command()
def sessions(
    json_lines: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many of the newest.")] = 50,
) -> None:
    """List the sessions of this machine, newest first."""

    def work(config: LocalConfig) -> Coroutine[Any, Any, None]:
        from codex_client.local.listing_commands import list_sessions

        return list_sessions(config, json_lines=json_lines, limit=limit)

    _local(work)


@app.command()
def show(
    session: Annotated[str | None, typer.Argument(help="The session's id or how it begins; else the newest.")] = None,
    json_lines: Annotated[bool, typer.Option("--json", help="The journal's rows, one JSON object per line.")] = False,
) -> None:
    """Print what happened in a session."""

    def work(config: LocalConfig) -> Coroutine[Any, Any, None]:
        from codex_client.local.listing_commands import show_session

        return show_session(config, session, json_lines=json_lines)

    _local(work)


@app.command()
def worker() -> None:
    """Stay and serve this machine's sessions: `run` and `resume` then begin at once.

    It brings its own Temporal server unless TEMPORAL_ADDRESS names one. With CODEX_DATABASE_URL set it is a worker of a
    cluster instead, as `codex-temporal-worker` is.
    """
    _serve()


@app.command()
def model_server(
    script: Annotated[Path, typer.Option(help="YAML file that says what the model answers.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8089,
    require_key: Annotated[str | None, typer.Option(help="Refuse requests with another API key.")] = None,
) -> None:
    """Serve a scripted model that speaks the Responses API."""
    from codex_client.model_server.command import run

    run(script, host, port, require_key)


def _local(prepare: Callable[[LocalConfig], Coroutine[Any, Any, int | None]]) -> NoReturn:
    """Do a command's work with what the environment says, and leave with its exit code."""
    from codex_client.local.config import LocalConfig
    from codex_client.local.errors import LocalError, translated

    try:
        with translated():
            code = asyncio.run(prepare(LocalConfig.of(os.environ))) or 0
    except LocalError as error:
        typer.echo(f"codex-temporal: {error}", err=True)
        code = error.exit_code
    except KeyboardInterrupt:
        code = 130
    _leave(code)


def _leave(code: int) -> NoReturn:
    """End the process now: what threads still import or wait for is of no use to anybody."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _serve() -> None:
    if os.environ.get("CODEX_DATABASE_URL"):
        from codex_worker.__main__ import main as serve_cluster

        serve_cluster()
        return

    def work(config: LocalConfig) -> Coroutine[Any, Any, None]:
        from codex_client.local.logs import log_to_stderr
        from codex_client.local.worker import serve

        log_to_stderr(config.log_level)
        return serve(config)

    _local(work)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Leave without a word at a Ctrl-C that comes before anything has begun."""
    try:
        yield
    except KeyboardInterrupt:
        _leave(130)


@_interruptible()
def main() -> None:
    """codex-temporal"""
    app()


@_interruptible()
def worker_main() -> None:
    """codex-temporal-worker"""
    _serve()


@_interruptible()
def client_main() -> None:
    """codex-temporal-client: one turn, as `codex-temporal run` does."""
    typer_run = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    typer_run.command(help=RUN_HELP)(run)
    typer_run()


if __name__ == "__main__":
    main()
