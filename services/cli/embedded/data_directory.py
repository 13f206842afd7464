"""TIDINGS_DATA: the folder of the embedded servers. One `tidings up` holds it at a time."""

import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from shared.runtime.errors import CouldNotStartError

_TRIES, _TRY_SECONDS = 5, 0.02

_Shape = TypeVar("_Shape", bound=msgspec.Struct)


class Secrets(msgspec.Struct, frozen=True, kw_only=True):
    """Made once, kept for ever; readable by the owner of the directory only."""

    nats_password: str
    postgres_password: str  # of Tidings
    postgres_admin_password: str  # of the superuser, which only makes the former
    secret_key: str  # of TIDINGS_SECRET_KEY: 256 bits in hexadecimal


class Ports(msgspec.Struct, frozen=True, kw_only=True):
    """Of the last start: taken again, where free, so that other processes find the servers."""

    nats: int
    postgres: int


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """What a running `tidings up` tells the admin commands."""

    pid: int
    url: str
    nats_url: str
    postgres_url: str
    secret_key: str  # with which it sealed what is in that database


class DataDirectory:
    """The files in it; made by `held_data_directory`, or by an admin command that only reads."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def secrets(self) -> Secrets:
        kept = self._read("secrets.json", Secrets)
        if kept is None:
            kept = Secrets(
                nats_password=secrets.token_hex(16),
                postgres_password=secrets.token_hex(16),
                postgres_admin_password=secrets.token_hex(16),
                secret_key=secrets.token_hex(32),
            )
            self._write("secrets.json", kept)
        return kept

    def ports(self) -> Ports | None:
        return self._read("ports.json", Ports)

    def keep_ports(self, ports: Ports) -> None:
        self._write("ports.json", ports)

    def running(self) -> Running | None:
        """None: no `tidings up` runs on this directory."""
        running = self._read("run.json", Running)
        return running if running is not None and self._is_held() else None

    @contextmanager
    def announced(self, running: Running) -> Iterator[None]:
        """Told to admin commands inside."""
        self._write("run.json", running)
        try:
            yield
        finally:
            (self.path / "run.json").unlink(missing_ok=True)

    def _is_held(self) -> bool:
        try:
            lock = os.open(self.path / "lock", os.O_RDWR)
        except OSError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False

    def _read(self, name: str, type_: type[_Shape]) -> _Shape | None:
        path = self.path / name
        try:
            return msgspec.json.decode(path.read_bytes(), type=type_)
        except FileNotFoundError:
            return None
        except PermissionError as error:
            raise CouldNotStartError(_not_ours(path)) from error
        except msgspec.MsgspecError as error:
            raise CouldNotStartError(
                f"{path} is damaged ({error}): put back a copy, or set TIDINGS_DATA anew."
            ) from error

    def _write(self, name: str, content: msgspec.Struct) -> None:
        """Whole or not at all, also in a power cut."""
        path = self.path / name
        unfinished = path.with_suffix(".new")
        file = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(file, msgspec.json.format(msgspec.json.encode(content)) + b"\n")
            os.fsync(file)
        finally:
            os.close(file)
        unfinished.replace(path)


@contextmanager
def using(path: Path) -> Iterator[None]:
    """A failure of the file system inside is told in one line.

    Raises:
        CouldNotStartError: with that line.
    """
    try:
        yield
    except OSError as error:
        raise CouldNotStartError(
            f"{path.absolute()} cannot be used ({error.strerror or error}): "
            "set TIDINGS_DATA to another directory."
        ) from error


@contextmanager
def held_data_directory(path: Path) -> Iterator[DataDirectory]:
    """Make the directory (0700) where missing, and hold it until the end.

    Raises:
        CouldNotStartError: it cannot be made or written, or another process holds it.
    """
    path = path.absolute()
    lock = _lock(path)
    try:
        with using(path):
            _say_who_holds(lock)
        yield DataDirectory(path)
    finally:
        os.close(lock)  # which releases it, as does the end of the process


def _lock(path: Path) -> int:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except (FileExistsError, NotADirectoryError) as error:
        raise CouldNotStartError(f"{path} is not a directory: set TIDINGS_DATA to one.") from error
    except PermissionError as error:
        raise CouldNotStartError(_not_ours(path)) from error
    except OSError as error:
        raise CouldNotStartError(
            f"{path} cannot be used ({error.strerror}): set TIDINGS_DATA to another directory."
        ) from error
    try:
        _take(lock)
    except BlockingIOError as error:
        holder = os.read(lock, 20).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        raise CouldNotStartError(
            f"Another tidings (pid {holder}) runs on {path}: stop it, "
            "or set TIDINGS_DATA to another directory."
        ) from error
    return lock


def _take(lock: int) -> None:
    for _ in range(_TRIES):
        # Whoever only asks (`DataDirectory.running`) holds it for an instant.
        with suppress(BlockingIOError):
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        time.sleep(_TRY_SECONDS)
    return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _say_who_holds(lock: int) -> None:
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)


def _not_ours(path: Path) -> str:
    return (
        f"{path} cannot be written by this user: set TIDINGS_DATA to a directory of your own, "
        "or start tidings as the user who made it."
    )
