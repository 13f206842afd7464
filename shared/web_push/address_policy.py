"""Which addresses and ports a webhook may be sent to (RFC 8620 section 8.6), and who is exempt.

`ipaddress.is_global` alone calls many addresses global that lead inside: translated, mapped,
tunnelled and multicast ones. So IPv6 is 2000::/3 less some networks, IPv4 what is global less some.
"""

import functools
import re
from collections.abc import Iterable
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import TypeAlias

import msgspec

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

PORTS = (443, 8443)
HOST_CHARACTERS_MAX = 253
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
# Resolvers read a name that ends so as an IPv4 address: 127.1, 2130706433, 0x7f000001.
_ODD_ADDRESS = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")

_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: an IPv4 address in its last four octets
_REFUSED_IPV6 = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # protocol assignments: Teredo, ORCHID, benchmarks
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: an IPv4 address inside
        "3fff::/20",  # documentation
    )
)
_REFUSED_IPV4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",
        "100.64.0.0/10",  # carriers' NAT
        "192.0.0.0/24",
        "192.0.2.0/24",  # documentation, as are the other two
        "192.88.99.0/24",  # 6to4 relays
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)


class ExemptionError(ValueError):
    """An entry of TIDINGS_WEBHOOK_ALLOW that names neither a host nor a network."""


class Exemptions(msgspec.Struct, frozen=True, kw_only=True):
    """Exempt from the address policy, from https and from the rule about ports."""

    hosts: frozenset[str] = frozenset()  # whatever they resolve to
    networks: tuple[Network, ...] = ()

    def has_host(self, host: str) -> bool:
        """`host`: a name in lower case or an address, as in a URL without brackets."""
        if host in self.hosts:
            return True
        address = address_of(host)
        return address is not None and self.has_address(address)

    def has_address(self, address: Address) -> bool:
        return any(address in network for network in self.networks)


def parse_exemptions(entries: Iterable[str]) -> Exemptions:
    """Host names, addresses and CIDR networks, as in `localhost`, `127.0.0.0/8`, `::1`.

    Raises:
        ExemptionError: quotes the entry that is none of these.
    """
    hosts, networks = set[str](), list[Network]()
    for entry in entries:
        name = entry.strip().lower()
        if is_host_name(name):
            hosts.add(name)
        else:
            networks.append(_network(name))
    return Exemptions(hosts=frozenset(hosts), networks=tuple(networks))


def why_refused(address: str, port: int, *, exemptions: Exemptions, host: str = "") -> str | None:
    """Why nothing may be sent to this socket address, or None.

    `address` is what is dialled; `host` is the host of the URL, for which it was resolved.
    """
    parsed = address_of(address)
    if host in exemptions.hosts or (parsed is not None and exemptions.has_address(parsed)):
        return None
    if parsed is None:
        return "it is not a plain IP address"
    return why_port_refused(port) or why_address_refused(parsed)


def why_port_refused(port: int) -> str | None:
    return None if port in PORTS else f"its port is not {PORTS[0]} or {PORTS[1]}"


def why_address_refused(address: Address) -> str | None:
    return None if _is_public(address) else "its address is not a public one"


@functools.lru_cache(maxsize=1024)
def address_of(text: str) -> Address | None:
    """None for a name, and for an address with a scope (fe80::1%eth0)."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return None if isinstance(address, IPv6Address) and address.scope_id else address


def is_host_name(text: str) -> bool:
    """In lower case; a name that could be read as an address is none."""
    return (
        len(text) <= HOST_CHARACTERS_MAX
        and _HOST_NAME.fullmatch(text) is not None
        and _ODD_ADDRESS.fullmatch(text) is None
    )


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return address.is_global and not _is_in(address, _REFUSED_IPV4)
    if address in _NAT64:
        return _is_public(IPv4Address(address.packed[-4:]))
    return address in _GLOBAL_UNICAST and not _is_in(address, _REFUSED_IPV6)


def _is_in(address: Address, networks: tuple[Network, ...]) -> bool:
    return any(address in network for network in networks)


def _network(text: str) -> Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise ExemptionError(
            f"{text!r} is neither a host name nor an address nor a network such as 10.0.0.0/8"
        ) from error
