"""What a command prints: JSON for programs, a line or a table for people."""

from collections.abc import Mapping

import msgspec
import typer
from rich.console import Console
from rich.table import Table


def show(facts: Mapping[str, str], *, as_json: bool, title: str) -> None:
    """One thing and its facts."""
    if as_json:
        typer.echo(msgspec.json.encode(facts))
        return
    table = Table(title=title, title_justify="left", show_header=False, box=None)
    for name, value in facts.items():
        table.add_row(name, value)
    Console(soft_wrap=True).print(table)
