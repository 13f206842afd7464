"""`tidings bench`: what this machine, or the Tidings that runs, can do."""

import os
import resource
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Annotated

import msgspec
import typer

from services.cli.bench.measures import (
    Found,
    Measure,
    measure_append,
    measure_connections,
    measure_deliveries,
    measure_latency,
)
from services.cli.bench.report import Report, limited_by, spread_of
from services.cli.bench.target import CONNECTIONS_OF_USER, prepared, private_target, running_target
from services.cli.on_database import Json
from services.cli.output import show
from services.cli.run import run
from shared.runtime.errors import CouldNotStartError

bench = typer.Typer(
    help="Measure: a Tidings of its own in a temporary directory, or (--running) yours.",
    no_args_is_help=True,
)

Seconds = Annotated[float, typer.Option(help="How long to measure.", min=0.5, max=3600)]
IsRunning = Annotated[
    bool,
    typer.Option("--running", help="Measure the one that runs; what is made there goes again."),
]
Url = Annotated[str | None, typer.Option(help="Where that one serves; not needed of `up`.")]
Connections = Annotated[int, typer.Option(min=1, max=20_000)]
_APPENDED_ACCOUNTS_MAX = 200


class _How(msgspec.Struct, frozen=True):
    measure: str
    work: Measure
    connections: int
    seconds: float
    appended: int = 0


@bench.command("latency")
def latency(
    context: typer.Context,
    *,
    connections: Connections = 100,
    seconds: Seconds = 10,
    running: IsRunning = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """From a call that changes something to the push at event sources and WebSockets."""
    how = _How("latency", measure_latency, connections, seconds)
    _report(context, how, running=running, url=url, as_json=json)


@bench.command("connections")
def connections_command(
    context: typer.Context,
    *,
    connections: Connections = 1000,
    seconds: Seconds = 10,
    running: IsRunning = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Event sources: how many are opened and resumed a second, and what memory they take."""
    how = _How("connections", measure_connections, connections, seconds)
    _report(context, how, running=running, url=url, as_json=json)


@bench.command("append")
def append(
    context: typer.Context,
    *,
    connections: Annotated[int, typer.Option(help="Requests at once.", min=1, max=500)] = 64,
    seconds: Seconds = 10,
    running: IsRunning = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """Changes through the append API, each answered once the log has it on disk."""
    appended = min(connections, _APPENDED_ACCOUNTS_MAX)
    how = _How("append", measure_append, connections, seconds, appended)
    _report(context, how, running=running, url=url, as_json=json)


@bench.command("deliveries")
def deliveries(
    context: typer.Context,
    *,
    connections: Annotated[
        int, typer.Option(help="Webhooks.", min=1, max=CONNECTIONS_OF_USER)
    ] = 50,
    seconds: Seconds = 10,
    running: IsRunning = False,
    url: Url = None,
    json: Json = False,
) -> None:
    """From a call that changes something to the POST at webhooks on this machine."""
    how = _How("deliveries", measure_deliveries, connections, seconds)
    _report(context, how, running=running, url=url, as_json=json)


def _report(
    context: typer.Context, how: _How, *, running: bool, url: str | None, as_json: bool
) -> None:
    async def work() -> None:
        report = await _measured(context.obj, how, running=running, url=url)
        if as_json:
            typer.echo(msgspec.json.encode(report))
        else:
            show(_facts(report), as_json=False, title=f"tidings bench {how.measure}")

    raise typer.Exit(run(work()))


async def _measured(
    environ: Mapping[str, str], how: _How, *, running: bool, url: str | None
) -> Report:
    _raise_limit_of_open_files()  # before the private one starts, which inherits it
    async with AsyncExitStack() as stack:
        if running:
            target = running_target(environ, url)
        elif url is not None:
            raise CouldNotStartError("--url is of the one that runs: say --running, too.")
        else:
            target = await stack.enter_async_context(private_target(environ))
        cast = await stack.enter_async_context(
            prepared(target, how.connections, appended=how.appended)
        )
        found = await how.work(target, cast, connections=how.connections, seconds=how.seconds)
    return _report_of(how, target.kind, found)


def _report_of(how: _How, target: str, found: Found) -> Report:
    return Report(
        measure=how.measure,
        target=target,
        connections=how.connections,
        seconds=round(found.seconds, 3),
        unit=found.unit,
        count=len(found.samples),
        failures=found.failures,
        per_second=round(len(found.samples) / found.seconds, 1),
        milliseconds=spread_of(found.samples),
        cpu=found.cpu,
        limited_by=limited_by(found.cpu, os.cpu_count() or 1),
        more=found.more,
    )


def _facts(report: Report) -> dict[str, str]:
    spread = report.milliseconds
    return {
        report.unit: f"{report.count} in {report.seconds:.1f} s: {report.per_second} a second",
        "milliseconds": "-"
        if spread is None
        else f"p50 {spread.p50}, p90 {spread.p90}, p99 {spread.p99}, max {spread.max}",
        "failures": str(report.failures),
        **{name: str(value) for name, value in report.more.items()},
        "cores used": ", ".join(f"{name} {cores}" for name, cores in report.cpu.items()) or "-",
        "limited by": report.limited_by,
    }


def _raise_limit_of_open_files() -> None:
    """As far as this user may; each connection is one here and one there."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
