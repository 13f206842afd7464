"""The URL of a push subscription: what it must look like, and where it may lead.

Strict about the form, so that no two readers of one URL see different hosts in it (RFC 8620
sections 7.2 and 8.6).
"""

import functools
import re

import msgspec

from shared.web_push.address_policy import (
    Exemptions,
    address_of,
    is_host_name,
    why_address_refused,
    why_port_refused,
)

URL_OCTETS_MAX = 2048
_PORT_MAX = 65535
_URL = re.compile(r"(https?)://([^/?#]*)([/?][^#]*)?(#.*)?", re.IGNORECASE)
# RFC 3986 section 2: all a URL is written with; anything else must be percent-encoded.
_CHARACTERS = re.compile(r"(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*")
_AUTHORITY = re.compile(r"(?:\[([^\[\]]*)\]|([^\[\]:]*))(?::([0-9]{1,5}))?")
_DEFAULT_PORTS = {"https": 443, "http": 80}
# Never resolved from the outside: RFC 6761, 6762, 7686 and 8375, and ICANN's .internal.
_INTERNAL_SUFFIXES = (".localhost", ".local", ".internal", ".home.arpa", ".onion", ".invalid")


class EndpointError(ValueError):
    """Nothing may be sent to this URL; the text says why and does not quote it."""


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    scheme: str  # https or http
    host: str  # in lower case; an IPv6 address without brackets
    port: int
    path: str  # and query: the secret part

    @property
    def url(self) -> str:
        """In normal form."""
        return self.origin + self.path

    @property
    def origin(self) -> str:
        """RFC 6454: what VAPID tokens are for."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}"

    def __repr__(self) -> str:
        """Without the path: whoever knows it may push."""
        return f"Endpoint({self.origin})"


def parse_endpoint(url: str, exemptions: Exemptions) -> Endpoint:
    """An endpoint as far as can be judged without resolving its host; raises EndpointError."""
    endpoint = read_endpoint(url)
    check_endpoint(endpoint, exemptions)
    return endpoint


def read_endpoint(url: str) -> Endpoint:
    """The form alone; raises EndpointError."""
    if len(url.encode("utf-8", "replace")) > URL_OCTETS_MAX:
        raise EndpointError(f"The URL is longer than {URL_OCTETS_MAX} octets.")
    if _CHARACTERS.fullmatch(url) is None:
        raise EndpointError(
            "The URL holds a character that must be percent-encoded, "
            "or in the host written as Punycode."
        )
    parts = _URL.fullmatch(url)
    if parts is None:
        raise EndpointError("The URL is not an absolute one that begins with https://.")
    scheme, authority, path, fragment = parts.groups(default="")
    if fragment:
        raise EndpointError("The URL has a fragment.")
    if "@" in authority:
        raise EndpointError("The URL holds a user name or a password.")
    scheme = scheme.lower()
    host, port = _host_and_port(authority.lower(), scheme)
    if not path.startswith("/"):
        path = "/" + path
    return Endpoint(scheme=scheme, host=host, port=port, path=path)


def check_endpoint(endpoint: Endpoint, exemptions: Exemptions) -> None:
    """Raises EndpointError; a host that must be resolved is judged again at each dial."""
    if exemptions.has_host(endpoint.host):
        return
    if endpoint.scheme != "https":
        raise EndpointError("The URL does not begin with https://.")
    address = address_of(endpoint.host)
    reason = why_port_refused(endpoint.port)
    if reason is None and address is not None:
        reason = why_address_refused(address)
    if reason is not None:
        raise EndpointError(f"Nothing is sent to the URL: {reason}.")
    # With exempt networks, names of the inside may lead to them.
    if address is None and not exemptions.networks and _is_internal(endpoint.host):
        raise EndpointError("The host of the URL cannot be resolved from the outside.")


@functools.lru_cache(maxsize=1024)  # few push services have most subscriptions
def _host_and_port(authority: str, scheme: str) -> tuple[str, int]:
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None:
        raise EndpointError("The URL has no valid host and port.")
    bracketed, plain, port = parts.groups()
    host = plain if bracketed is None else bracketed
    address = address_of(host)
    if address is not None and (address.version == 6) == (bracketed is not None):  # noqa: PLR2004
        host = str(address)
    elif bracketed is not None or not is_host_name(host):
        raise EndpointError("The host of the URL is neither a host name nor a plain address.")
    number = _DEFAULT_PORTS[scheme] if port is None else int(port)
    if not 1 <= number <= _PORT_MAX:
        raise EndpointError("The port of the URL is not between 1 and 65535.")
    return host, number


def _is_internal(host: str) -> bool:
    return "." not in host or host.endswith(_INTERNAL_SUFFIXES)
