"""What a command prints: JSON for programs, a line or a table for people."""

from collections.abc import Mapping, Sequence

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

_WIDTH_MAX = 1000


def show(facts: Mapping[str, str], *, as_json: bool, title: str) -> None:
    """One thing and its facts."""
    if as_json:
        typer.echo(msgspec.json.encode(facts))
        return
    table = Table(title=title, title_justify="left", show_header=False, box=None)
    for name, value in facts.items():
        table.add_row(name, Text(plain(value)))
    # A key that is cut off, or in two lines, cannot be copied; the terminal may wrap it.
    Console(soft_wrap=True, width=_WIDTH_MAX).print(table)


def plain(text: str) -> str:
    """Nothing in it can speak to the terminal."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else "�" for character in text)


def show_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Several things of a kind, for people."""
    table = Table(*columns, box=None)
    for row in rows:
        table.add_row(*(Text(plain(value)) for value in row))
    Console(soft_wrap=True, width=_WIDTH_MAX).print(table)
