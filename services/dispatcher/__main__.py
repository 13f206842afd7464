"""`python -m services.dispatcher`: the dispatcher as a process of its own."""

import os
import sys

import uvloop

from services.dispatcher.app import run
from services.dispatcher.settings import DispatcherSettings
from shared.http.issuer import JWT_PREFIX, JwtSettings
from shared.runtime.errors import CouldNotStartError
from shared.runtime.logs import configure_logs
from shared.runtime.serve import HttpSettings
from shared.runtime.settings import PREFIX, refuse_unknown, settings_from


def main() -> int:
    """2: could not start."""
    try:
        refuse_unknown(
            os.environ,
            [(PREFIX, DispatcherSettings), (PREFIX, HttpSettings), (JWT_PREFIX, JwtSettings)],
        )
        settings = settings_from(os.environ, PREFIX, DispatcherSettings)
        http = settings_from(os.environ, PREFIX, HttpSettings)
        jwt = settings_from(os.environ, JWT_PREFIX, JwtSettings)
        configure_logs()
        uvloop.run(run(settings, http, jwt))
    except CouldNotStartError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
