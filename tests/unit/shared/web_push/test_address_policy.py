"""P-40: no webhook leads inside (RFC 8620 section 8.6)."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.web_push.address_policy import (
    ExemptionError,
    Exemptions,
    address_of,
    parse_exemptions,
    why_port_refused,
    why_refused,
)

NONE = Exemptions()


def is_refused(address: str, port: int = 443, *, exemptions: Exemptions = NONE) -> bool:
    return why_refused(address, port, exemptions=exemptions) is not None


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "8.8.8.8",
        "172.15.0.1",
        "172.32.0.1",
        "223.255.255.255",
        "100.63.0.1",
        "2606:4700::1111",
        "2001:4860:4860::8888",
        "2a00:1450::1",
        "2620:fe::fe",
        "3ffe::1",
        "64:ff9b::808:808",
    ],
)
def test_public_addresses_may_be_dialled(address: str) -> None:
    assert why_refused(address, 443, exemptions=NONE) is None
    assert why_refused(address, 8443, exemptions=NONE) is None


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "192.0.0.1",
        "192.0.0.9",
        "192.0.0.170",
        "192.0.2.1",
        "192.88.99.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.7",
        "203.0.113.7",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
    ],
)
def test_ipv4_addresses_of_the_inside_are_refused_also_inside_ipv6(address: str) -> None:
    translated = IPv6Address(b"\x00\x64\xff\x9b" + bytes(8) + IPv4Address(address).packed)

    assert is_refused(address)
    assert is_refused(str(translated))
    assert is_refused(f"::ffff:{address}")


@pytest.mark.parametrize(
    "address",
    [
        "::",
        "::1",
        "::7f00:1",
        "::ffff:8.8.8.8",
        "::ffff:0:7f00:1",
        "64:ff9b:1::808:808",
        "100::1",
        "2001::1",
        "2001:10::1",
        "2001:1ff::1",
        "2001:db8::1",
        "2002:808:808::1",
        "3fff::1",
        "3fff:fff::1",
        "4000::1",
        "5f00::1",
        "fc00::1",
        "fd12::1",
        "fe80::1",
        "fec0::1",
        "ff02::1",
        "ff0e::1",
    ],
)
def test_ipv6_addresses_that_are_not_unicast_of_the_outside_are_refused(address: str) -> None:
    """Also those that `ipaddress` calls global."""
    assert is_refused(address)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "localhost",
        "0x7f000001",
        "2130706433",
        "127.1",
        "0",
        "0177.0.0.1",
        "1.1.1.1 ",
        "1.1.1",
        "fe80::1%eth0",
        "2606:4700::1111%1",
        "[::1]",
        "1.1.1.1\n",
        "\uff11.1.1.1",
    ],
)
def test_what_is_not_a_plain_address_is_refused(text: str) -> None:
    assert why_refused(text, 443, exemptions=NONE) == "it is not a plain IP address"


@pytest.mark.parametrize("port", [0, 22, 25, 80, 444, 6379, 8080, 65535])
def test_other_ports_are_refused(port: int) -> None:
    assert is_refused("1.1.1.1", port)
    assert why_port_refused(port) == "its port is not 443 or 8443"


@given(st.ip_addresses(v=4))
def test_no_refused_ipv4_address_comes_back_as_ipv6(address: IPv4Address) -> None:
    translated = IPv6Address(b"\x00\x64\xff\x9b" + bytes(8) + address.packed)

    assert is_refused(str(translated)) == is_refused(str(address))
    assert is_refused(f"::ffff:{address}")
    assert is_refused(f"::{address}")
    assert is_refused(str(IPv6Address(b"\x20\x02" + address.packed + bytes(10))))
    if not address.is_global:
        assert is_refused(str(address))


@given(st.ip_addresses(v=6))
def test_only_unicast_of_2000_and_translated_addresses_pass(address: IPv6Address) -> None:
    if not is_refused(str(address)):
        assert address.packed[0] >> 5 == 1 or address.packed[:12] == b"\x00\x64\xff\x9b" + bytes(8)
        assert not address.is_multicast
        assert not address.is_private


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1"])
def test_an_exempt_network_opens_its_addresses_at_any_port(address: str) -> None:
    exemptions = parse_exemptions(["localhost", " 127.0.0.0/8", "::1/128"])

    assert exemptions.has_host(address)
    assert exemptions.has_host("localhost")
    assert not is_refused(address, 9000, exemptions=exemptions)
    assert is_refused("10.0.0.1", exemptions=exemptions)
    assert is_refused("::ffff:127.0.0.1", exemptions=exemptions)
    assert is_refused("fe80::1%eth0", exemptions=exemptions)


def test_an_exempt_host_opens_itself_only() -> None:
    exemptions = parse_exemptions(["Hooks.Inside", "push_service"])

    assert why_refused("10.0.0.1", 80, exemptions=exemptions, host="hooks.inside") is None
    assert why_refused("fe80::1%eth0", 80, exemptions=exemptions, host="push_service") is None
    assert why_refused("10.0.0.1", 443, exemptions=exemptions, host="other.inside") is not None
    assert why_refused("10.0.0.1", 443, exemptions=exemptions) is not None
    assert not exemptions.has_host("other.inside")
    assert not exemptions.has_host("10.0.0.1")


def test_single_addresses_are_exempt_as_networks_of_one() -> None:
    exemptions = parse_exemptions(["10.1.2.3", "FD00::1"])

    assert exemptions.has_host("10.1.2.3")
    assert exemptions.has_host("fd00::1")
    assert not exemptions.has_host("10.1.2.4")


@pytest.mark.parametrize(
    "entry",
    ["", "10.0.0.1/8", "127.1", "0x7f000001", "http://a", "a:80", "-a", "a..b", "*.a", "[::1]"],
)
def test_an_entry_that_names_nothing_is_quoted(entry: str) -> None:
    with pytest.raises(ExemptionError, match="neither a host name") as raised:
        parse_exemptions(["localhost", entry])
    assert repr(entry) in str(raised.value)


@given(st.ip_addresses())
def test_an_address_is_read_as_it_is_written(address: IPv4Address | IPv6Address) -> None:
    assert address_of(str(address)) == address == ip_address(str(address))
