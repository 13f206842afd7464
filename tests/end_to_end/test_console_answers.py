"""The console's page where answers are late, missing, refused, or no longer wanted, in Chromium."""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Error as PlaywrightError
from playwright.async_api import Locator, Page, Route, expect

from tests.support.browser import page_opened
from tests.support.console_page import PATIENT, go, heading, log_in
from tests.support.dispatcher import JmapClient
from tests.support.processes import Up
from tests.support.push_subscriptions import subscribe
from tests.support.webhook_sink import webhook_sink
from tests.support.wire import EventSourceClient

pytestmark = [pytest.mark.end_to_end, pytest.mark.browser]


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    running = Up(tmp_path_factory.mktemp("up") / "data")
    try:
        yield running
    finally:
        running.close()


@pytest.fixture(scope="module")
def token(up: Up) -> str:
    return up.command("token", "issue", "demo", "--scope", "operate")["token"]


async def test_what_is_old_is_said_to_be_until_it_is_new_again(up: Up, token: str) -> None:
    async with page_opened(f"{up.url}/console/") as (page, _):
        await log_in(page, token)
        await expect(page.get_by_text("events kept")).to_be_visible(timeout=PATIENT)
        old = page.get_by_text(re.compile("Not up to date since"))
        nats = up.children()["nats"]
        os.kill(nats, signal.SIGSTOP)
        try:
            await expect(old).to_be_visible(timeout=2 * PATIENT)
            await expect(page.get_by_text("NATS does not answer now.")).to_be_visible()
            await expect(page.get_by_text("events kept")).to_be_visible()
        finally:
            os.kill(nats, signal.SIGCONT)
        await expect(old).to_have_count(0, timeout=2 * PATIENT)


async def test_a_server_that_is_away_at_the_start_is_waited_for(up: Up, token: str) -> None:
    async with page_opened(f"{up.url}/console/") as (page, _):
        await log_in(page, token)

        async def away(route: Route) -> None:
            problem = {
                "title": "Service Unavailable",
                "detail": "The database does not answer now.",
            }
            await route.fulfill(status=503, json=problem)

        await page.route("**/api/session", away)
        await page.reload()
        await expect(
            page.get_by_text(re.compile("The database does not answer now"))
        ).to_be_visible(timeout=PATIENT)
        await expect(page.get_by_label("Token")).to_have_count(0)
        await page.unroute("**/api/session")
        await expect(heading(page, "Overview")).to_be_visible(timeout=PATIENT)
        await expect(page.get_by_text(re.compile("does not answer"))).to_be_hidden()


async def test_who_leaves_a_view_has_answered_its_question_with_no(up: Up, token: str) -> None:
    async with page_opened(f"{up.url}/console/") as (page, complaints):
        sent: list[str] = []
        page.on("request", lambda one: sent.append(one.url) if one.method == "POST" else None)
        await log_in(page, token)
        await go(page, "Replay")
        await page.get_by_label("Subscription").fill("s1")
        await page.get_by_role("button", name="Send …").click()
        await expect(page.get_by_role("dialog")).to_be_visible()
        await page.go_back()
        await expect(heading(page, "Overview")).to_be_visible()
        await expect(page.get_by_role("dialog")).to_have_count(0)
        assert not [url for url in sent if url.endswith("/replays")]
        assert complaints == []


STREAMED_REPLAY = """() => {
  const own = window.fetch;
  const body = new ReadableStream({ start(lines) {
    const encoder = new TextEncoder();
    window.say = (line) => lines.enqueue(encoder.encode(JSON.stringify(line) + "\\n"));
    window.end = () => lines.close();
  } });
  window.fetch = (url, asked) =>
    String(url).endsWith("/replays") ? Promise.resolve(new Response(body)) : own(url, asked);
}"""


async def test_stop_keeps_the_focus_while_a_replay_counts(up: Up, token: str) -> None:
    async with page_opened(f"{up.url}/console/") as (page, complaints):
        await log_in(page, token)
        await go(page, "Replay")
        await page.evaluate(STREAMED_REPLAY)
        await page.get_by_label("Subscription").fill("s1")
        await page.get_by_role("button", name="Count only").click()
        stop = page.get_by_role("button", name="Stop")
        await stop.focus()
        for count in (1, 2):
            await page.evaluate("sent => window.say({ sent })", count)
            await expect(page.get_by_text(f"{count} event")).to_be_visible()
            await expect(stop).to_be_focused()
        await page.evaluate("() => { window.say({ sent: 3, done: true }); window.end(); }")
        await expect(page.get_by_text("3 events would be sent")).to_be_visible()
        await expect(stop).to_have_count(0)
        await expect(page.get_by_role("button", name="Count only")).to_be_focused()
        assert complaints == []


async def test_a_slow_answer_does_not_take_the_place_of_a_newer_one(up: Up, token: str) -> None:
    async with page_opened(f"{up.url}/console/") as (page, _):
        await log_in(page, token)
        await go(page, "Explain")
        held, is_let_go = asyncio.Event(), asyncio.Event()
        answered = asyncio.Event()

        async def hold(route: Route) -> None:
            if held.is_set():
                await route.continue_()
                return
            held.set()
            await is_let_go.wait()
            with suppress(PlaywrightError):  # the page may have given it up
                await route.fulfill(
                    json={"headline": "too late", "outcome": "told", "verdicts": []}
                )
            answered.set()

        await page.route("**/api/explain", hold)
        await page.get_by_label("Its id or name").fill("demo")
        for account in ("slow", "nobody"):
            await page.get_by_label("Event or account").fill(account)
            await page.get_by_role("button", name="Explain").click()
            await asyncio.wait_for(held.wait(), PATIENT / 1000)
        await expect(page.get_by_role("alert")).to_contain_text("nobody", timeout=PATIENT)
        is_let_go.set()
        await asyncio.wait_for(answered.wait(), PATIENT / 1000)
        await page.evaluate("() => new Promise(requestAnimationFrame)")
        await expect(page.get_by_text("too late")).to_have_count(0)
        await expect(page.get_by_role("alert")).to_contain_text("nobody")


async def test_gateways_that_did_not_answer_are_named(up: Up, token: str) -> None:
    async with page_opened(f"{up.url}/console/") as (page, complaints):
        await log_in(page, token)

        async def one_hangs(route: Route) -> None:
            answer = await route.fetch()
            await route.fulfill(json={**await answer.json(), "silent": ["ghung"]})

        await page.route("**/api/connections?*", one_hangs)
        await go(page, "Connections")
        await expect(page.get_by_text("1 gateway did not answer in time")).to_be_visible(
            timeout=PATIENT
        )
        await expect(page.get_by_text("ghung")).to_be_visible()
        await page.route("**/api/overview", one_hangs)
        await go(page, "Overview")
        await expect(page.get_by_text("1 gateway did not answer in time")).to_be_visible(
            timeout=PATIENT
        )
        await expect(page.get_by_text("ghung")).to_be_visible()
        await expect(page.get_by_role("row").filter(has_text="follows the log")).to_be_visible()
        assert complaints == []


@pytest.fixture
async def ada(up: Up) -> AsyncIterator[JmapClient]:
    who = up.command("user", "add", "ada") | up.command("token", "issue", "ada")
    client = JmapClient(up.url, who["token"], who["account"])
    async with client.http:
        yield client


async def test_who_stands_on_something_stands_there_when_the_view_is_made_anew(
    up: Up, token: str, ada: JmapClient
) -> None:
    stream = await EventSourceClient.get(
        urlsplit(up.url).port or 0,
        "/jmap/eventsource?types=*&closeafter=no&ping=0",
        f"Authorization: Bearer {ada.token}",
    )
    with webhook_sink() as sink:
        subscription = str((await subscribe(ada, url=sink.url("/ada")))["id"])
        async with stream, page_opened(f"{up.url}/console/") as (page, complaints):
            await log_in(page, token)
            await stays(page.get_by_role("link", name="Log", exact=True))
            await go(page, "Connections")
            row = page.get_by_role("row").filter(has_text="ada").first.get_by_role("link")
            await stays(row)
            await row.click()
            for one in ("Explain the newest event …", ada.account_id):
                await stays(page.get_by_role("link", name=one).last)
            await page.goto(f"{up.url}/console/#/accounts/{ada.account_id}")
            await stays(page.get_by_role("button", name=f"Copy {ada.account_id}"))
            await go(page, "Subscriptions")
            await stays(page.get_by_role("link", name=subscription))
            await page.get_by_role("link", name=subscription).click()
            await stays(page.get_by_role("link", name="Replay to it …"))
            await by_keyboard(page, subscription)
            assert complaints == []


async def by_keyboard(page: Page, subscription: str) -> None:
    """What is done there is done to the subscription, and leaves the focus where it was."""
    await page.get_by_role("button", name="Try now").press("Enter")
    await expect(page.get_by_text(re.compile("Tried now"))).to_be_visible(timeout=PATIENT)
    await expect(page.get_by_role("button", name="Try now")).to_be_focused()
    await page.get_by_role("button", name="Pause").press("Enter")
    await expect(page.get_by_text(re.compile("Paused: it is sent nothing"))).to_be_visible()
    await expect(page.get_by_role("button", name="Resume")).to_be_focused()
    await expect(page.get_by_role("heading", name=subscription)).to_be_visible()


async def stays(control: Locator) -> None:
    await expect(control).to_be_visible(timeout=PATIENT)
    await control.evaluate("control => { control.focus(); window.before = control; }")
    await control.page.wait_for_function("() => !window.before.isConnected", timeout=PATIENT)
    await expect(control).to_be_focused()
