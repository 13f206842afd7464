"""`tidings secrets`: what the processes of a deployment share with NATS and PostgreSQL.

Each process gets a file of its own, with its own NATS user (nats/access.conf) and no more than it
needs; `compose.yaml` reads them. The secrets themselves are kept, so that a further run, such as
after an upgrade that brings a user, changes none of them.
"""

import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from services.cli.on_database import Json
from services.cli.run import run
from shared.runtime.errors import CouldNotStartError

USERS = ("dispatcher", "gateway", "webhooks", "console", "methods", "appender", "operator")
_WITH_POSTGRES = ("dispatcher", "gateway", "webhooks", "console", "operator")
_WITH_SECRET_KEY = ("dispatcher", "webhooks", "console", "operator")
_KEPT = "secrets.json"
_POSTGRES_NAME = "tidings"  # of the user and the database
_ROUTE_PORT = 6222


class DeploymentSecrets(msgspec.Struct, frozen=True, kw_only=True):
    """Made once, kept for ever."""

    nats: dict[str, str]  # by user, and of the routes between the servers
    postgres: str
    secret_key: str  # TIDINGS_SECRET_KEY


def secrets_command(
    directory: Annotated[Path, typer.Argument(help="Made, readable by you alone.")],
    *,
    nats: Annotated[
        str, typer.Option(help="host:port of each NATS server, with commas.")
    ] = "nats-1:4222,nats-2:4222,nats-3:4222",
    postgres: Annotated[str, typer.Option(help="host:port of PostgreSQL.")] = "postgres:5432",
    json: Json = False,
) -> None:
    """Make the secrets of a deployment, and a file of settings for each of its processes."""
    raise typer.Exit(run(_write_secrets(directory, nats.split(","), postgres, as_json=json)))


async def _write_secrets(
    directory: Path, nats: Sequence[str], postgres: str, *, as_json: bool
) -> None:
    if without := [address for address in nats if not all(address.rpartition(":"))]:
        raise CouldNotStartError(f"Not host:port, as --nats needs it: {', '.join(without)!r}.")
    try:
        files = write_secrets(directory, nats, postgres)
    except (OSError, msgspec.MsgspecError) as error:
        raise CouldNotStartError(f"{directory} cannot be used ({error}).") from error
    if as_json:
        typer.echo(msgspec.json.encode({"directory": str(directory), "files": files}))
        return
    typer.echo(f"Written to {directory}: keep it secret, and a copy of {_KEPT} safe.")


def write_secrets(directory: Path, nats: Sequence[str], postgres: str) -> list[str]:
    """Keep the secrets that are there, add what is missing, write the .env files anew.

    Gives the names of the files. Raises OSError, MsgspecError.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    kept = directory / _KEPT
    made = _completed(
        msgspec.json.decode(kept.read_bytes(), type=DeploymentSecrets) if kept.exists() else None
    )
    _write(kept, msgspec.json.format(msgspec.json.encode(made)).decode() + "\n")
    written = [_KEPT]
    for name, settings in _files(made, nats, postgres).items():
        lines = (f"{variable}={value}\n" for variable, value in settings.items())
        written.append(f"{name}.env")
        _write(directory / written[-1], "".join(lines))
    return written


def _completed(kept: DeploymentSecrets | None) -> DeploymentSecrets:
    passwords = kept.nats if kept else {}
    return DeploymentSecrets(
        nats={user: passwords.get(user) or _password() for user in (*USERS, "route")},
        postgres=kept.postgres if kept else _password(),
        secret_key=kept.secret_key if kept else secrets.token_hex(32),
    )


def _files(
    made: DeploymentSecrets, nats: Sequence[str], postgres: str
) -> dict[str, Mapping[str, str]]:
    routes = [f"nats://route:{made.nats['route']}@{_host(at)}:{_ROUTE_PORT}" for at in nats]
    files: dict[str, Mapping[str, str]] = {
        "nats": {f"NATS_{user.upper()}_PASSWORD": word for user, word in made.nats.items()}
        | {"NATS_CLUSTER_ROUTES": f"[{','.join(routes)}]"},
        "postgres": {
            "POSTGRES_USER": _POSTGRES_NAME,
            "POSTGRES_PASSWORD": made.postgres,
            "POSTGRES_DB": _POSTGRES_NAME,
        },
    }
    database = f"postgresql://{_POSTGRES_NAME}:{made.postgres}@{postgres}/{_POSTGRES_NAME}"
    for user in USERS:
        servers = ",".join(f"nats://{user}:{made.nats[user]}@{at}" for at in nats)
        files[user] = (
            {"TIDINGS_NATS_URL": servers}
            | ({"TIDINGS_POSTGRES_URL": database} if user in _WITH_POSTGRES else {})
            | ({"TIDINGS_SECRET_KEY": made.secret_key} if user in _WITH_SECRET_KEY else {})
        )
    return files


def _host(address: str) -> str:
    return address.rpartition(":")[0]


def _password() -> str:
    """The letter first: NATS reads digits as a number, also those with an e between them."""
    return "p" + secrets.token_hex(24)


def _write(path: Path, text: str) -> None:
    """Whole or not at all, readable by its owner only."""
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
