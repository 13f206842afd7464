"""The `tidings` command."""

import os

from services.cli.commands import app


def main() -> None:
    """Read the command line and the environment; exit."""
    app(obj=dict(os.environ), prog_name="tidings")


if __name__ == "__main__":
    main()
