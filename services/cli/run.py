"""Runs a command's coroutine to an exit code: 0 done or drained, 1 crashed, 3 could not start."""

import asyncio
import logging
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import typer
import uvloop

from shared.bus.connection import BusUnavailableError, ServerTooOldError
from shared.log.keeper import LogForeignError
from shared.runtime.errors import CouldNotStartError
from shared.store.migrate import MigrationsMissingError, SchemaTooNewError
from shared.store.pool import POSTGRES_ERRORS

_log = logging.getLogger(__name__)

CRASHED = 1
COULD_NOT_START = 3


def run(work: Coroutine[Any, Any, None]) -> int:
    """The exit code; an expected failure is one line on standard error."""
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(work)
    except KeyboardInterrupt:
        return 130  # before signals were ours
    except BaseException as error:  # noqa: BLE001 - the end of the process
        expected = _start_failure(error)
        if expected is None:
            _log.critical("crashed", exc_info=error)
            return CRASHED
        typer.echo(f"tidings: {expected}", err=True)
        return COULD_NOT_START
    return 0


@contextmanager
def starting() -> Iterator[None]:
    """What fails inside, in a known way, is told in one line.

    Raises:
        CouldNotStartError: with that line.
    """
    try:
        yield
    except (ServerTooOldError, LogForeignError, BusUnavailableError) as error:
        raise _told(error) from error
    except MigrationsMissingError as error:
        raise CouldNotStartError(
            f"The database lacks migrations ({error}): run `tidings migrate`."
        ) from error
    except SchemaTooNewError as error:
        raise CouldNotStartError(
            f"The database belongs to a newer Tidings, whose migration {error} this one does not "
            "know: upgrade this one."
        ) from error
    except POSTGRES_ERRORS as error:
        raise CouldNotStartError(
            f"PostgreSQL cannot be used ({_first_line(error)}): start it, "
            "or correct TIDINGS_POSTGRES_URL."
        ) from error


def _start_failure(error: BaseException) -> CouldNotStartError | None:
    match error:
        case CouldNotStartError():
            return error
        case ServerTooOldError() | LogForeignError() | BusUnavailableError():
            return _told(error)
        case BaseExceptionGroup(exceptions=[BaseException() as only]):
            return _start_failure(only)
        case _:
            return None


def _told(
    error: ServerTooOldError | LogForeignError | BusUnavailableError,
) -> CouldNotStartError:
    is_unreachable = isinstance(error, BusUnavailableError)
    advice = "; start it, or correct TIDINGS_NATS_URL" if is_unreachable else ""
    return CouldNotStartError(f"{error}{advice}.")


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).partition("\n")[0]
