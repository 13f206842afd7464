"""Names of gateways and of their connections: short, unique, easy to say and to copy."""

import secrets

_SYMBOLS = "0123456789abcdefghjkmnpqrstvwxyz"  # no i, l, o, u, as in Crockford's base 32
_NUMBER_SYMBOLS_MAX = 12
_GATEWAY_SYMBOLS = 6  # a thousand million: no two of those that run, or ran lately


def new_gateway_id() -> str:
    """Of this run of a process."""
    return "".join(secrets.choice(_SYMBOLS) for _ in range(_GATEWAY_SYMBOLS))


def number_of(connection_id: str, gateway_id: str) -> int:
    """Of a connection of this gateway; else 0, which none has."""
    gateway, _, symbols = connection_id.partition("-")
    if gateway != gateway_id or len(symbols) > _NUMBER_SYMBOLS_MAX:
        return 0
    number = 0
    for symbol in symbols:
        if symbol not in _SYMBOLS:
            return 0
        number = number * len(_SYMBOLS) + _SYMBOLS.index(symbol)
    return number


def connection_id(gateway_id: str, number: int) -> str:
    """Of the gateway's `number`th connection, as `4k2m9x-1f`; says which gateway to ask."""
    symbols = ""
    while number:
        number, rest = divmod(number, len(_SYMBOLS))
        symbols = _SYMBOLS[rest] + symbols
    return f"{gateway_id}-{symbols}"
