"""P-40: nothing of the inside is reached, by whatever name or notation. Real sockets."""

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from ipaddress import ip_address

import pytest
from aiohappyeyeballs import start_connection

from services.webhooks.answers import Outcome
from services.webhooks.dialling import Guard, SystemLookUp, address_info
from services.webhooks.failures import AddressBlockedError
from services.webhooks.messages import PushRequest
from services.webhooks.push_client import ClientLimits
from shared.web_push.address_policy import Exemptions
from shared.web_push.endpoint import Endpoint, EndpointError, read_endpoint
from tests.support.certificate import Certificate, make_certificate
from tests.support.eventually import PATIENCE
from tests.support.push_client import LIMITS, OWN_NET, names, push_client, request_to
from tests.support.webhook_sink import Behaviour, WebhookSink, webhook_sink

INSIDE = f"{OWN_NET}.1"  # an address of the inside, at a port that the policy allows
NUMBER = int(ip_address(INSIDE))
HOSTS = ("push.example", "other.example")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    folder = tmp_path_factory.mktemp("tls")
    return make_certificate(folder, names=HOSTS, addresses=(INSIDE, "127.0.0.1"))


@pytest.fixture
def inside(certificate: Certificate) -> Iterator[WebhookSink]:
    with webhook_sink(certificate, address=INSIDE, port=8443) as sink:
        yield sink


async def test_an_address_in_the_url_is_judged(
    inside: WebhookSink, certificate: Certificate
) -> None:
    """Which asks no resolver."""
    async with push_client(authority=certificate.path) as client:
        answer = await client.post(request_to(inside.url()))

    assert answer.outcome is Outcome.ADDRESS_BLOCKED
    assert "public" in answer.reason
    assert inside.connections == 0


@pytest.mark.parametrize("host", [INSIDE, "localhost"])
async def test_the_dial_itself_is_guarded_whatever_was_judged_before(
    inside: WebhookSink, host: str
) -> None:
    guard = Guard(Exemptions(), host)
    with pytest.raises(AddressBlockedError):
        await start_connection([address_info(INSIDE, 8443)], socket_factory=guard)

    assert guard.has_dialled
    assert inside.connections == 0


def test_an_address_with_a_scope_is_not_dialled() -> None:
    place = ("2606:4700::1111", 443, 0, 1)
    with pytest.raises(AddressBlockedError, match="plain"):
        Guard(Exemptions(), "push.example")(
            (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", place)
        )


@pytest.mark.parametrize(
    "addresses",
    [
        [INSIDE],
        ["8.8.8.8", INSIDE],
        [INSIDE, "8.8.8.8"],
        ["2606:4700::1111", f"::ffff:{INSIDE}"],
        [f"64:ff9b::{INSIDE}"],
        ["fe80::1%lo"],
        ["::1"],
        ["0.0.0.0"],
    ],
)
async def test_a_name_with_an_address_of_the_inside_is_not_dialled_at_all(
    inside: WebhookSink, addresses: list[str]
) -> None:
    """Mixed answers too: the public address is not tried either."""
    async with push_client(look_up=names(push=addresses)) as client:
        answer = await client.post(request_to("https://push.example:8443/"))

    assert answer.outcome is Outcome.ADDRESS_BLOCKED
    assert not answer.has_dialled
    assert inside.connections == 0


async def test_a_name_that_changes_its_address_is_judged_again(
    inside: WebhookSink, certificate: Certificate
) -> None:
    """DNS rebinding: the first address stands for the outside here, the second for the inside."""
    second = f"{OWN_NET}.2"
    answers = iter([[INSIDE], [second], [second]])

    async def look_up(_: str) -> Sequence[str]:
        return next(answers)

    with webhook_sink(certificate, address=second, port=8443) as target:
        inside.behave("/", Behaviour(headers={"Connection": "close"}))
        async with push_client(INSIDE, authority=certificate.path, look_up=look_up) as client:
            outcomes = [
                (await client.post(request_to("https://push.example:8443/"))).outcome
                for _ in range(3)
            ]

    assert outcomes == [Outcome.ACCEPTED, Outcome.ADDRESS_BLOCKED, Outcome.ADDRESS_BLOCKED]
    assert target.connections == 0


async def test_an_exempt_host_may_move_but_exempts_no_other(
    inside: WebhookSink, certificate: Certificate
) -> None:
    look_up = names(push=[INSIDE], other=[INSIDE])
    async with push_client("push.example", authority=certificate.path, look_up=look_up) as client:
        answers = await asyncio.gather(
            *(client.post(request_to(f"https://{host}:8443/")) for host in HOSTS * 3)
        )

    assert [answer.outcome for answer in answers] == [
        Outcome.ACCEPTED,
        Outcome.ADDRESS_BLOCKED,
    ] * 3
    assert {post.headers["host"] for post in inside.posts} == {"push.example:8443"}


async def test_an_exempt_host_exempts_not_its_address(
    inside: WebhookSink, certificate: Certificate
) -> None:
    look_up = names(push=[INSIDE])
    async with push_client("push.example", authority=certificate.path, look_up=look_up) as client:
        by_name = await client.post(request_to("https://push.example:8443/"))
        by_address = await client.post(request_to(inside.url()))

    assert by_name.outcome is Outcome.ACCEPTED
    assert by_address.outcome is Outcome.ADDRESS_BLOCKED


@pytest.mark.parametrize(
    "url",
    [
        f"https://{NUMBER:#x}:8443/",
        f"https://{NUMBER}:8443/",
        f"https://127.{NUMBER % 2**24}:8443/",
        "https://0177.0.0.01:8443/",
        "https://0:8443/",
        "https://[fe80::1%25lo]:8443/",
        f"https://user@{INSIDE}:8443/",
        f"https://push.example:8443@{INSIDE}:8443/",
    ],
)
async def test_odd_notations_of_an_address_are_no_endpoints(inside: WebhookSink, url: str) -> None:
    with pytest.raises(EndpointError):
        read_endpoint(url)
    assert inside.connections == 0


@pytest.mark.parametrize(
    "host", [f"{NUMBER:#x}", f"{NUMBER}", f"127.{NUMBER % 2**24}", "fe80::1%lo"]
)
async def test_they_are_not_dialled_either(inside: WebhookSink, host: str) -> None:
    """Were one in the store all the same."""
    endpoint = Endpoint(scheme="https", host=host, port=8443, path="/")
    async with push_client() as client:
        answer = await client.post(PushRequest(endpoint=endpoint, headers={}, body=b""))

    assert answer.status is None
    assert inside.connections == 0


@pytest.mark.parametrize(("scheme", "port"), [("https", 22), ("https", 80), ("http", 8443)])
async def test_other_ports_and_plain_http_are_not_dialled(scheme: str, port: int) -> None:
    endpoint = Endpoint(scheme=scheme, host="push.example", port=port, path="/")
    async with push_client(look_up=names(push=["8.8.8.8"])) as client:
        answer = await client.post(PushRequest(endpoint=endpoint, headers={}, body=b""))

    assert answer.outcome is Outcome.ADDRESS_BLOCKED
    assert not answer.has_dialled


async def test_a_slow_name_costs_its_own_time_only() -> None:
    limits = ClientLimits(dns_seconds=0.5 * PATIENCE)

    async def look_up(host: str) -> Sequence[str]:
        if host == "slow.example":
            await asyncio.Event().wait()
        return ["127.0.0.1"]

    with webhook_sink() as sink:
        url = sink.url(host="quick.example")
        async with push_client(
            "slow.example", "quick.example", look_up=look_up, limits=limits
        ) as client:
            slow = asyncio.gather(
                *(client.post(request_to("http://slow.example/")) for _ in range(20))
            )
            quick = [await client.post(request_to(url)) for _ in range(20)]
            assert {answer.outcome for answer in quick} == {Outcome.ACCEPTED}
            assert not slow.done()
            outcomes = {answer.outcome for answer in await slow}

    assert outcomes == {Outcome.DNS_FAILED}


async def test_look_ups_that_do_not_end_leave_the_rest_unblamed() -> None:
    """A look-up of the system cannot be ended: there is a bound on how many are under way."""
    released = threading.Event()

    def hang(_: str) -> Sequence[str]:
        released.wait(30)
        return []

    limits = ClientLimits(dns_seconds=0.3 * PATIENCE)
    async with push_client(look_up=SystemLookUp(2, hang), limits=limits) as client:
        urls = [f"https://{name}.example/" for name in "abc"]
        answers = await asyncio.gather(*(client.post(request_to(url)) for url in urls))
        released.set()

    assert [answer.outcome for answer in answers] == [
        Outcome.DNS_FAILED,
        Outcome.DNS_FAILED,
        Outcome.EGRESS_FAILED,
    ]


async def test_only_the_first_of_many_addresses_are_dialled() -> None:
    addresses = [f"{OWN_NET}.{number}" for number in range(101, 200)]
    with webhook_sink(address=f"{OWN_NET}.199") as sink:
        url = f"http://many.example:{sink.port}/"
        look_up: Callable[[str], Awaitable[Sequence[str]]] = names(many=addresses)
        async with push_client("many.example", look_up=look_up, limits=LIMITS) as client:
            answer = await client.post(request_to(url))

    assert answer.outcome is Outcome.CONNECT_FAILED
    assert sink.connections == 0
