"""P-12, P-40: which URLs are taken for webhooks."""

import contextlib
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from shared.web_push.address_policy import Exemptions, parse_exemptions
from shared.web_push.endpoint import (
    URL_OCTETS_MAX,
    Endpoint,
    EndpointError,
    check_endpoint,
    parse_endpoint,
    read_endpoint,
)

NONE = Exemptions()
LOOPBACK = parse_exemptions(["localhost", "127.0.0.0/8", "::1/128"])


@pytest.mark.parametrize(
    ("url", "host", "port", "origin"),
    [
        ("https://push.example/wp/abc?x=%20#"[:-1], "push.example", 443, "https://push.example"),
        ("HTTPS://Push.Example", "push.example", 443, "https://push.example"),
        ("https://push.example:443/a", "push.example", 443, "https://push.example"),
        ("https://push.example:8443?a", "push.example", 8443, "https://push.example:8443"),
        ("https://xn--bcher-kva.example/", "xn--bcher-kva.example", 443, None),
        ("https://1.1.1.1/", "1.1.1.1", 443, "https://1.1.1.1"),
        ("https://[2606:4700:0::1111]:8443/", "2606:4700::1111", 8443, None),
        ("https://1.example/", "1.example", 443, "https://1.example"),
    ],
)
def test_urls_of_the_outside_are_taken(url: str, host: str, port: int, origin: str | None) -> None:
    endpoint = parse_endpoint(url, NONE)

    assert (endpoint.host, endpoint.port) == (host, port)
    assert origin in (None, endpoint.origin)


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("https://push.example", "https://push.example/"),
        ("https://push.example?a=B", "https://push.example/?a=B"),
        ("HTTPS://Push.Example:443/Wp//x/../%41?#"[:-1], "https://push.example/Wp//x/../%41?"),
        ("https://[2606:4700:0:0::1]:8443/A", "https://[2606:4700::1]:8443/A"),
    ],
)
def test_only_scheme_host_and_port_are_made_normal(url: str, normal: str) -> None:
    endpoint = parse_endpoint(url, NONE)

    assert endpoint.url == normal
    assert read_endpoint(normal) == endpoint


def test_the_origin_of_an_ipv6_address_has_brackets() -> None:
    assert parse_endpoint("https://[2606:4700::1]:8443/", NONE).origin == (
        "https://[2606:4700::1]:8443"
    )


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "absolute"),
        ("push.example/a", "absolute"),
        ("https:push.example", "absolute"),
        ("https:/push.example", "absolute"),
        ("ftp://push.example/", "absolute"),
        ("file:///etc/passwd", "absolute"),
        ("http://push.example/", "https"),
        ("http://1.1.1.1:443/", "https"),
        ("https://", "host"),
        ("https:///a", "host"),
        ("https://:443/", "host"),
        ("https://user@push.example/", "user name"),
        ("https://user:word@push.example/", "user name"),
        ("https://push.example@127.0.0.1/", "user name"),
        ("https://push.example/#part", "fragment"),
        ("https://push.example/#", "fragment"),
        ("https://push.example:22/", "port"),
        ("https://push.example:80/", "port"),
        ("https://push.example:0/", "port"),
        ("https://push.example:65536/", "port"),
        ("https://push.example:/", "port"),
        ("https://push.example:+443/", "port"),
        ("https://push.example:443:443/", "port"),
        ("https://127.0.0.1/", "public"),
        ("https://169.254.169.254/latest/meta-data/", "public"),
        ("https://[::1]/", "public"),
        ("https://[::ffff:127.0.0.1]/", "public"),
        ("https://[64:ff9b::7f00:1]/", "public"),
        ("https://[fe80::1%25eth0]/", "host"),
        ("https://[::1/", "host"),
        ("https://::1/", "host"),
        ("https://2606:4700::1111/", "host"),
        ("https://[1.1.1.1]/", "host"),
        ("https://[push.example]/", "host"),
        ("https://0x7f000001/", "host"),
        ("https://0x7f.0.0.1/", "host"),
        ("https://2130706433/", "host"),
        ("https://127.1/", "host"),
        ("https://0/", "host"),
        ("https://0177.0.0.1/", "host"),
        ("https://example.1/", "host"),
        ("https://1.1.1.1./", "host"),
        ("https://push.example./", "host"),
        ("https://push..example/", "host"),
        ("https://-push.example/", "host"),
        ("https://push-.example/", "host"),
        ("https://a,b.example/", "host"),
        (f"https://{'a' * 64}.example/", "host"),
        (f"https://{'a.' * 126}ab/", "host"),
        ("https://%31%32%37.0.0.1/", "host"),
        ("https://localhost/", "outside"),
        ("https://intranet/", "outside"),
        ("https://a.localhost/", "outside"),
        ("https://printer.local/", "outside"),
        ("https://db.internal/", "outside"),
        ("https://push.example\\@127.0.0.1/", "percent"),
        ("https://push.example/a b", "percent"),
        ("https://push.example/%zz", "percent"),
        ("https://push.example/%", "percent"),
        ("https://push.example/\r\nX: y", "percent"),
        ("https://push.example/\x00", "percent"),
        ("https://push.example/\n", "percent"),
        (" https://push.example/", "percent"),
        ("https://bücher.example/", "percent"),
        ("https://127。0。0。1/", "percent"),
        ("https://push.example/\ud800", "percent"),
        ("https://push.example/" + "a" * URL_OCTETS_MAX, "longer"),
    ],
)
def test_other_urls_are_refused_with_a_reason(url: str, reason: str) -> None:
    with pytest.raises(EndpointError, match=reason):
        parse_endpoint(url, NONE)


def test_the_longest_url_is_taken() -> None:
    url = "https://push.example/".ljust(URL_OCTETS_MAX, "a")

    assert parse_endpoint(url, NONE).url == url
    with pytest.raises(EndpointError, match="longer than 2048"):
        parse_endpoint(url + "a", NONE)


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:9000/a",
        "http://127.0.0.1/",
        "http://127.8.8.8:22/",
        "http://[::1]:1/",
        "https://localhost:9000",
        "https://127.0.0.1:9000/",
    ],
)
def test_exempt_hosts_need_neither_https_nor_a_usual_port(url: str) -> None:
    assert parse_endpoint(url, LOOPBACK).url.startswith(url)
    with pytest.raises(EndpointError):
        parse_endpoint(url, NONE)


@pytest.mark.parametrize(
    "url",
    [
        "http://push.example/",
        "https://push.example:9000/",
        "https://10.0.0.1/",
        "http://0x7f000001/",
        "http://127.1/",
        "http://user@localhost/",
        "http://localhost./",
        "http://localhost:0/",
    ],
)
def test_an_exemption_opens_nothing_else(url: str) -> None:
    with pytest.raises(EndpointError):
        parse_endpoint(url, LOOPBACK)


def test_with_exempt_networks_a_name_of_the_inside_may_lead_to_them() -> None:
    """Its addresses are judged at the dial."""
    inside = parse_exemptions(["10.0.0.0/8"])

    assert parse_endpoint("https://hooks.internal/", inside).host == "hooks.internal"
    with pytest.raises(EndpointError, match="outside"):
        parse_endpoint("https://hooks.internal/", parse_exemptions(["other.internal"]))


def test_the_default_port_of_http_is_not_in_its_origin() -> None:
    assert parse_endpoint("http://localhost/", LOOPBACK).origin == "http://localhost"
    assert parse_endpoint("http://localhost:80/", LOOPBACK).port == 80
    assert parse_endpoint("http://localhost:443/", LOOPBACK).origin == "http://localhost:443"


def test_what_was_read_is_judged_again_under_other_exemptions() -> None:
    endpoint = read_endpoint("http://localhost:9000/")

    check_endpoint(endpoint, LOOPBACK)
    with pytest.raises(EndpointError, match="https"):
        check_endpoint(endpoint, NONE)


def test_an_endpoint_does_not_show_its_path() -> None:
    assert repr(read_endpoint("https://push.example/secret")) == "Endpoint(https://push.example)"


HOSTS = st.sampled_from(["push.example", "1.1.1.1", "127.0.0.1", "[::1]", "[2606::1]", "127.1"])
PARTS = st.lists(
    st.one_of(HOSTS, st.sampled_from([*list(":/?#@[]\\%0 "), "443", "//", "%40", "a"])), max_size=6
)


@given(PARTS)
def test_two_readers_of_a_url_that_is_taken_see_one_host(parts: list[str]) -> None:
    endpoint: Endpoint | None = None
    with contextlib.suppress(EndpointError):
        endpoint = parse_endpoint("https://" + "".join(parts), NONE)
    if endpoint is not None:
        other = urlsplit("https://" + "".join(parts))
        assert (other.hostname, other.port or 443) == (endpoint.host, endpoint.port)
        assert other.username is None
        dialled = URL(endpoint.url, encoded=True)  # as the HTTP client reads it
        assert (dialled.raw_host, dialled.port) == (endpoint.host, endpoint.port)
        # yarl leaves out a query that is empty.
        path = endpoint.path
        path = path if "?" in path[:-1] else path.removesuffix("?")
        assert (dialled.scheme, dialled.raw_path_qs) == (endpoint.scheme, path)


@given(st.text())
def test_any_text_is_an_endpoint_or_an_error(text: str) -> None:
    with contextlib.suppress(EndpointError):
        endpoint = parse_endpoint(text, LOOPBACK)
        assert parse_endpoint(endpoint.url, LOOPBACK) == endpoint
