"""`python -m services.gateway`: the gateway as a process of its own."""

import os
import sys

import uvloop

from services.gateway.app import run
from services.gateway.settings import GatewaySettings, ServerSettings
from shared.http.issuer import JWT_PREFIX, JwtSettings
from shared.runtime.errors import CouldNotStartError
from shared.runtime.logs import configure_logs
from shared.runtime.serve import HttpSettings
from shared.runtime.settings import PREFIX, refuse_unknown, settings_from

GATEWAY_PREFIX = PREFIX + "GATEWAY_"


def main() -> int:
    """2: could not start."""
    try:
        refuse_unknown(
            os.environ,
            [
                (PREFIX, ServerSettings),
                (PREFIX, HttpSettings),
                (GATEWAY_PREFIX, GatewaySettings),
                (JWT_PREFIX, JwtSettings),
            ],
        )
        server = settings_from(os.environ, PREFIX, ServerSettings)
        settings = settings_from(os.environ, GATEWAY_PREFIX, GatewaySettings)
        http = settings_from(os.environ, PREFIX, HttpSettings)
        jwt = settings_from(os.environ, JWT_PREFIX, JwtSettings)
        configure_logs()
        uvloop.run(run(server, settings, http, jwt))
    except CouldNotStartError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
