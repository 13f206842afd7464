"""The operators' console in Chromium: from the login to why a push did not arrive, and on."""

import itertools
import re
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Locator, Page, Route, expect

from tests.support.axe import axe_installed, grave_findings
from tests.support.browser import page_opened, pictured
from tests.support.console_page import PATIENT, go, heading, log_in
from tests.support.dispatcher import JmapClient
from tests.support.eventually import eventually
from tests.support.processes import Up, tidings
from tests.support.push_subscriptions import subscribe
from tests.support.webhook_sink import Behaviour, WebhookSink, webhook_sink
from tests.support.wire import EventSourceClient

pytestmark = [pytest.mark.end_to_end, pytest.mark.browser]

ROUTES = ("overview", "events", "subscriptions", "connections", "explain", "replay")
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    return axe_installed(tmp_path_factory.mktemp("axe"))


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    running = Up(tmp_path_factory.mktemp("up") / "data")
    try:
        yield running
    finally:
        running.close()


@pytest.fixture
def sink() -> Iterator[WebhookSink]:
    with webhook_sink() as running:
        yield running


@pytest.fixture
async def ada(up: Up) -> AsyncIterator[JmapClient]:
    """Somebody of that name, with a number, whose address book is in the log."""
    name = f"ada{next(_numbers)}"
    who = up.command("user", "add", name) | up.command("token", "issue", name)

    def is_in_the_log() -> bool:
        done = tidings("events", "--json", "--account", name, environment=up.environment)
        return "AddressBook" in done.stdout

    await eventually(is_in_the_log, what="no event of the new account")
    client = JmapClient(up.url, who["token"], who["account"])
    async with client.http:
        yield client


@pytest.fixture(scope="module")
def token(up: Up) -> str:
    return up.command("token", "issue", "demo", "--scope", "operate")["token"]


async def test_an_operator_finds_out_why_a_webhook_fails_mends_it_and_replays(
    up: Up, token: str, ada: JmapClient, sink: WebhookSink
) -> None:
    subscription = (await subscribe(ada, url=sink.url("/ada"), types=["ContactCard"]))["id"]
    await eventually(lambda: sink.posts_to("/ada"), what="no PushVerification")
    async with page_opened(f"{up.url}/console/") as (page, complaints):
        await log_in(page, token)
        await go(page, "Events")
        await expect(page.get_by_text("live", exact=True)).to_be_visible(timeout=PATIENT)
        sink.behave("/ada", Behaviour(status=500, body=b"out of <b>disk</b>"))
        await ada.add_card(name={"full": "Grace"})
        event = page.get_by_role("listitem").filter(has_text="ContactCard/set by ada")
        await expect(event.first).to_contain_text("ContactCard", timeout=PATIENT)
        await pictured(page, "events")

        await go(page, "Subscriptions")
        row = page.get_by_role("row").filter(has_text=subscription)
        await expect(row).to_contain_text("failing", timeout=PATIENT)
        await row.get_by_role("link", name=subscription).click()
        await expect(
            page.get_by_text(re.compile("failing for .*500 from the endpoint"))
        ).to_be_visible()
        await expect(page.get_by_text("out of <b>disk</b>").first).to_be_visible()
        await pictured(page, "subscription")
        await explained(page, ada.account_id)

        sink.behave("/ada", Behaviour())
        told = len(sink.posts_to("/ada"))
        await page.get_by_role("button", name="Resume").click()
        await expect(page.get_by_text("told everything")).to_be_visible(timeout=PATIENT)
        assert len(sink.posts_to("/ada")) > told

        await replay_to(page, subscription, sink)
        await go(page, "Overview")
        await expect(page.get_by_role("row").filter(has_text="follows the log")).to_be_visible()
        await pictured(page, "overview")
        assert complaints == []


async def explained(page: Page, account_id: str) -> None:
    """From the page of a subscription that fails, and back to it."""
    await page.get_by_role("link", name="Explain the newest event").click()
    await expect(heading(page, "Explain")).to_be_visible()
    await page.get_by_label("Event or account").fill(account_id)
    await page.get_by_role("button", name="Explain").click()
    answer = page.locator(".explained")
    await expect(answer.get_by_text(re.compile("500")).first).to_be_visible(timeout=PATIENT)
    await pictured(page, "explain")
    await page.go_back()
    await expect(heading(page, "Subscription ")).to_be_visible()


async def replay_to(page: Page, subscription: str, sink: WebhookSink) -> None:
    told = len(sink.posts_to("/ada"))
    await page.get_by_role("link", name="Replay to it").click()
    await expect(page.get_by_label("Subscription")).to_have_value(subscription)
    await page.get_by_role("button", name="Count only").click()
    await expect(page.get_by_text(re.compile("[1-9].* would be sent"))).to_be_visible(
        timeout=PATIENT
    )
    assert len(sink.posts_to("/ada")) == told
    await page.get_by_role("button", name="Send …").click()
    await page.get_by_role("dialog").get_by_role("button", name="Send").click()
    await expect(page.get_by_text(re.compile(r"[1-9]\d* events? sent$"))).to_be_visible(
        timeout=PATIENT
    )
    replayed = sink.posts_to("/ada")[told:]
    assert replayed
    assert all(post.headers["tidings-replay"] == "1" for post in replayed)


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_no_view_has_a_serious_barrier(
    up: Up, token: str, ada: JmapClient, sink: WebhookSink, axe: str, scheme: str
) -> None:
    subscription = (await subscribe(ada, url=sink.url("/ada")))["id"]
    sink.behave("/ada", Behaviour(status=500, body=b"no"))
    await ada.add_card(name={"full": "Grace"})
    async with page_opened(f"{up.url}/console/") as (page, complaints):
        await page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        assert await grave_findings(page, axe) == []
        await log_in(page, token)
        for route in (*ROUTES, f"subscriptions/{subscription}", f"accounts/{ada.account_id}"):
            await page.evaluate("route => { location.hash = '#/' + route }", route)
            await page.wait_for_load_state("networkidle") if route != "events" else None
            await expect(page.get_by_role("heading", level=1)).to_be_visible()
            assert await grave_findings(page, axe) == [], route
        assert complaints == []


async def test_a_revoked_token_ends_the_login_and_says_so(up: Up) -> None:
    issued = up.command("token", "issue", "demo", "--scope", "operate")
    async with page_opened(f"{up.url}/console/") as (page, _):
        await page.get_by_label("Token").focus()
        await page.keyboard.insert_text("x" * 2_801)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert")).to_contain_text("1 to 2800", timeout=PATIENT)
        await log_in(page, issued["token"])
        assert tidings("token", "revoke", issued["id"], environment=up.environment).returncode == 0
        await expect(page.get_by_label("Token")).to_be_visible(timeout=2 * PATIENT)


async def test_logging_out_leaves_nothing_to_come_back_with(up: Up, token: str) -> None:
    async with page_opened(f"{up.url}/console/") as (page, _):
        await log_in(page, token)
        assert not await page.evaluate("document.cookie")
        await page.get_by_role("button", name="Log out").click()
        await expect(page.get_by_label("Token")).to_be_visible(timeout=PATIENT)
        await page.reload()
        await expect(page.get_by_label("Token")).to_be_visible(timeout=PATIENT)
        assert await page.evaluate("Object.values(localStorage).join()") in ("", "null", "system")


HOSTILE = '<img src=x onerror="window.hostile=1"><script>window.hostile=1</script>\u202egnp.exe'


async def test_foreign_text_is_text_wherever_it_is_shown(
    up: Up, token: str, ada: JmapClient, sink: WebhookSink
) -> None:
    subscription = (await subscribe(ada, url=sink.url("/ada"), deviceClientId=HOSTILE))["id"]
    await eventually(lambda: sink.posts_to("/ada"), what="no PushVerification")
    sink.behave("/ada", Behaviour(status=500, body=HOSTILE.encode()))
    await ada.add_card(name={"full": HOSTILE})
    shown = HOSTILE.partition(" ")[0]
    async with page_opened(f"{up.url}/console/") as (page, complaints):
        await log_in(page, token)
        await page.evaluate("id => { location.hash = '#/subscriptions/' + id }", subscription)
        await expect(page.get_by_role("cell").filter(has_text=shown).first).to_be_visible(
            timeout=PATIENT
        )
        await expect(page.get_by_role("definition").filter(has_text=shown)).to_be_visible()
        assert complaints == [], "no script that the policy would have had to stop"
        for route in (*ROUTES, "accounts", "connections", "nothing"):
            await page.evaluate(
                "([route, text]) => { location.hash = `#/${route}/${encodeURIComponent(text)}`"
                " + `?${new URLSearchParams({event: text, account: text, user: text})}` }",
                [route, HOSTILE],
            )
            await expect(page.get_by_role("heading", level=1)).to_be_visible()
            await page.wait_for_load_state("networkidle") if route != "events" else None
        assert await page.evaluate("window.hostile") is None
        assert await page.locator("img, #main script").count() == 0
        assert not [one for one in complaints if "Content Security" in one or "uncaught" in one]


async def test_no_view_is_wider_than_a_phone(
    up: Up, token: str, ada: JmapClient, sink: WebhookSink
) -> None:
    """WCAG 2.2 1.4.10: 320 pixels, and what others wrote may be long."""
    subscription = (await subscribe(ada, url=sink.url("/ada"), deviceClientId="d" * 200))["id"]
    await eventually(lambda: sink.posts_to("/ada"), what="no PushVerification")
    sink.behave("/ada", Behaviour(status=500, body=b"x" * 200))
    await ada.add_card(name={"full": "Grace"})
    async with page_opened(f"{up.url}/console/") as (page, complaints):
        await page.set_viewport_size({"width": 320, "height": 640})
        assert await _overflow(page) == 0
        await log_in(page, token)
        for route in (*ROUTES, f"subscriptions/{subscription}", f"accounts/{ada.account_id}"):
            await page.evaluate("route => { location.hash = '#/' + route }", route)
            await page.wait_for_load_state("networkidle") if route != "events" else None
            await expect(page.get_by_text("Loading …")).to_have_count(0, timeout=PATIENT)
            assert await _overflow(page) == 0, route
        assert complaints == []


async def _overflow(page: Page) -> int:
    """Pixels that must be scrolled for to the side."""
    pixels: int = await page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    return pixels


async def test_the_keyboard_is_enough(
    up: Up, token: str, ada: JmapClient, sink: WebhookSink
) -> None:
    subscription = (await subscribe(ada, url=sink.url("/ada")))["id"]
    async with page_opened(f"{up.url}/console/") as (page, complaints):
        await tab_to(page, page.get_by_label("Token"))
        await page.keyboard.type(token)
        await page.keyboard.press("Enter")
        await expect(heading(page, "Overview")).to_be_focused(timeout=PATIENT)
        await tab_to(page, page.get_by_role("link", name="Subscriptions", exact=True))
        await page.keyboard.press("Enter")
        await expect(heading(page, "Subscriptions")).to_be_focused()
        await tab_to(page, page.get_by_role("link", name=subscription))
        await page.keyboard.press("Enter")
        await expect(heading(page, "Subscription ")).to_be_focused()

        resynchronise = page.get_by_role("button", name="Resynchronise …")
        await tab_to(page, resynchronise)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("dialog")).to_be_visible()
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("dialog")).to_have_count(0)
        await expect(resynchronise).to_be_focused()

        await tab_to(page, page.get_by_role("button", name="Pause"), key="Shift+Tab")
        await page.keyboard.press("Space")
        await expect(page.locator(".verdict")).to_contain_text("paused", timeout=PATIENT)
        assert complaints == []


async def tab_to(page: Page, wanted: Locator, *, key: str = "Tab") -> None:
    """Where each step shows where it is (WCAG 2.4.7)."""
    for _ in range(100):
        await page.keyboard.press(key)
        focused = page.locator(":focus")
        if await focused.count():
            outline = await focused.evaluate("one => getComputedStyle(one).outlineStyle")
            assert outline != "none", await focused.evaluate("one => one.outerHTML")
        if await wanted.evaluate_all("all => all.includes(document.activeElement)"):
            return
    pytest.fail(f"cannot be reached: {wanted}")


async def test_an_operator_sees_what_a_connection_was_told_and_closes_it(
    up: Up, token: str, ada: JmapClient
) -> None:
    asked = "/jmap/eventsource?types=*&closeafter=no&ping=0"
    port = urlsplit(up.url).port
    assert port is not None
    client = await EventSourceClient.get(port, asked, f"Authorization: Bearer {ada.token}")
    async with client, page_opened(f"{up.url}/console/") as (page, complaints):
        await log_in(page, token)
        await go(page, "Connections")
        name = (await ada.http.get("/jmap/session")).json()["username"]
        row = page.get_by_role("row").filter(has_text=name)
        await row.get_by_role("link").click(timeout=PATIENT)
        await expect(heading(page, "Connection ")).to_be_visible()
        await expect(page.get_by_text("told everything")).to_be_visible(timeout=PATIENT)
        await ada.add_card(name={"full": "Grace"})
        moment = page.get_by_role("row").filter(has_text="ContactCard")
        await expect(moment.first).to_contain_text("state", timeout=PATIENT)
        await pictured(page, "connection")

        await page.get_by_role("button", name="Resynchronise …").click()
        await page.get_by_role("dialog").get_by_role("button", name="Resynchronise").click()
        await expect(page.get_by_role("row").filter(has_text="resynchronised")).to_be_visible(
            timeout=PATIENT
        )
        await page.get_by_role("button", name="Close …").click()
        await page.get_by_label("Reason").fill("test")
        await page.get_by_role("dialog").get_by_role("button", name="Close it").click()
        await expect(page.locator(".verdict")).to_contain_text("ended", timeout=PATIENT)
        await expect(page.get_by_role("button", name="Close …")).to_have_count(0)

        await page.evaluate("id => { location.hash = '#/accounts/' + id }", ada.account_id)
        grant = page.get_by_role("row").filter(has_text="owner")
        await expect(grant).to_contain_text("yes", timeout=PATIENT)
        await expect(grant).to_contain_text(name)
        await pictured(page, "account")
        assert complaints == []


async def test_why_a_lane_fails_is_what_its_last_push_says_and_no_replay(
    up: Up, token: str, ada: JmapClient, sink: WebhookSink
) -> None:
    subscription = (await subscribe(ada, url=sink.url("/ada"), types=["ContactCard"]))["id"]
    await eventually(lambda: sink.posts_to("/ada"), what="no PushVerification")
    sink.behave("/ada", Behaviour(status=500, body=b"no"))
    await ada.add_card(name={"full": "Grace"})
    async with page_opened(f"{up.url}/console/") as (page, complaints):
        await log_in(page, token)

        async def replayed_since(route: Route) -> None:
            answer = await route.fetch()
            lane = await answer.json()
            [last, *others] = lane["lastAttempts"]
            replay = {**last, "kind": "replay", "outcome": "accepted", "status": 200}
            await route.fulfill(json={**lane, "lastAttempts": [replay, last, *others]})

        await page.route(f"**/api/subscriptions/{subscription}", replayed_since)
        await page.evaluate("id => { location.hash = '#/subscriptions/' + id }", subscription)
        await expect(page.locator(".verdict")).to_contain_text(
            re.compile("failing for .*500 from the endpoint"), timeout=PATIENT
        )
        assert complaints == []
