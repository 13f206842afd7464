"""The system's Chromium without a screen, and a page for it from an origin of its own."""

import os
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.async_api import Page, async_playwright

CHROMIUM = os.environ.get("TIDINGS_TEST_CHROMIUM", "/usr/bin/chromium")
_PAGE = Path(__file__).with_name("page.html").read_bytes()
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_LOADING_MILLISECONDS = 30_000
# Where `make screenshots` wants pictures; else none is made.
_PICTURES = os.environ.get("TIDINGS_TEST_SCREENSHOTS")


class _PageHandler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        is_page = self.path == "/"
        self.send_response(200 if is_page else 204)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        if is_page:
            self.wfile.write(_PAGE)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def page_served() -> Iterator[str]:
    """Its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _PageHandler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


@asynccontextmanager
async def page_opened(url: str) -> AsyncIterator[tuple[Page, list[str]]]:
    """The page in a browser, and what its console and its uncaught errors say."""
    if not os.access(CHROMIUM, os.X_OK):
        pytest.fail(
            f"{CHROMIUM} is missing. Debian: apt-get install --no-install-recommends chromium; "
            "elsewhere: install a Chromium and name it in TIDINGS_TEST_CHROMIUM."
        )
    complaints: list[str] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=_FLAGS, timeout=_LOADING_MILLISECONDS
        )
        try:
            page = await browser.new_page()
            page.on("console", lambda message: complaints.append(message.text))
            page.on("pageerror", lambda error: complaints.append(f"uncaught: {error}"))
            await page.goto(url, timeout=_LOADING_MILLISECONDS)
            yield page, complaints
        finally:
            await browser.close()


async def pictured(page: Page, name: str) -> None:
    """For the documents: as it looks now, in light, in dark and on a phone."""
    if _PICTURES is None:
        return
    desktop = page.viewport_size
    assert desktop is not None
    for suffix, scheme, size in (
        ("", "light", desktop),
        ("-dark", "dark", desktop),
        ("-phone", "light", {"width": 390, "height": 844}),
    ):
        await page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        await page.set_viewport_size(size)  # type: ignore[arg-type]
        await page.wait_for_timeout(200)
        await page.screenshot(path=Path(_PICTURES) / f"{name}{suffix}.png")
    await page.emulate_media(color_scheme="null")
    await page.set_viewport_size(desktop)
