"""The operators' console as somebody uses it in a browser."""

import re

from playwright.async_api import Locator, Page, expect

PATIENT = 15_000  # milliseconds


async def log_in(page: Page, token: str) -> None:
    await page.get_by_label("Token").fill(token)
    await page.keyboard.press("Enter")
    await expect(heading(page, "Overview")).to_be_visible(timeout=PATIENT)


def heading(page: Page, name: str) -> Locator:
    return page.get_by_role("heading", level=1, name=re.compile(name))


async def go(page: Page, name: str) -> None:
    await page.get_by_role("navigation").get_by_role("link", name=name, exact=True).click()
    await expect(heading(page, name)).to_be_focused()
