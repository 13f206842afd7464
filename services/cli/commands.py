"""The commands that run and set up; `admin.py` has those about people."""

import typer

from services.cli.account_removal import account_remove
from services.cli.admin import account, grant, token, user
from services.cli.bench.commands import bench
from services.cli.connections import connection
from services.cli.deployment import secrets_command
from services.cli.directory import grant_list, token_list, user_list
from services.cli.events import events
from services.cli.explain import explain
from services.cli.maintenance import apply_migrations, rebuild_log
from services.cli.on_database import Json
from services.cli.processes import run_console, run_dispatcher, run_gateway, run_webhooks
from services.cli.replay import replay
from services.cli.run import run
from services.cli.subscriptions import subscription
from services.cli.up import up as run_everything
from services.cli.vapid import vapid

app = typer.Typer(
    help="Tidings: a durable JMAP push server.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # they would show local variables, so secrets
    context_settings={"help_option_names": ["-h", "--help"]},
)
log = typer.Typer(help="The log of state changes.", no_args_is_help=True)
for name, group in (
    ("user", user),
    ("token", token),
    ("account", account),
    ("grant", grant),
    ("subscription", subscription),
    ("connection", connection),
    ("vapid", vapid),
    ("log", log),
    ("bench", bench),
):
    app.add_typer(group, name=name)


account.command("remove")(account_remove)
user.command("list")(user_list)
token.command("list")(token_list)
grant.command("list")(grant_list)
app.command("secrets")(secrets_command)
app.command()(events)
app.command()(replay)
app.command()(explain)


@app.command()
def up(context: typer.Context) -> None:
    """Run everything on one machine and one port, with embedded servers where none are given."""
    raise typer.Exit(run(run_everything(context.obj)))


@app.command()
def dispatcher(context: typer.Context) -> None:
    """Run the JMAP API, on servers that are given or those of a running `tidings up`."""
    raise typer.Exit(run(run_dispatcher(context.obj)))


@app.command()
def gateway(context: typer.Context) -> None:
    """Run the push gateway, on servers that are given or those of a running `tidings up`."""
    raise typer.Exit(run(run_gateway(context.obj)))


@app.command()
def webhooks(context: typer.Context) -> None:
    """Run the webhook deliverer, on servers that are given or those of a running `tidings up`."""
    raise typer.Exit(run(run_webhooks(context.obj)))


@app.command()
def console(context: typer.Context) -> None:
    """Run the operators' console, on servers that are given or those of a running `tidings up`."""
    raise typer.Exit(run(run_console(context.obj)))


@app.command()
def migrate(context: typer.Context, *, json: Json = False) -> None:
    """Apply the migrations of the database and the declared streams."""
    raise typer.Exit(run(apply_migrations(context.obj, as_json=json)))


@log.command("rebuild")
def log_rebuild(context: typer.Context, *, json: Json = False) -> None:
    """Make the log anew from PostgreSQL; open clients resynchronise."""
    raise typer.Exit(run(rebuild_log(context.obj, as_json=json)))
