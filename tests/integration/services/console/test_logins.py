"""Who may use the console, and what a browser is told."""

import asyncio
import base64

import httpx
import pytest

from services.console.security import HEADERS
from shared.store.credentials import revoke_token
from tests.integration.services.console.conftest import Operated
from tests.support.console import OWN_HEADER
from tests.support.eventually import eventually

pytestmark = pytest.mark.integration


async def test_a_login_sets_a_cookie_that_no_script_reads_and_that_hides_the_token(
    operated: Operated,
) -> None:
    response = await operated.page.log_in(operated.token)
    cookie = response.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/console/"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    assert operated.token not in cookie
    assert (await operated.page.get("/session"))["user"] == operated.name


async def test_a_password_that_a_browser_sends_by_itself_needs_the_header_too(
    operated: Operated,
) -> None:
    basic = base64.b64encode(f"{operated.name}:{operated.token}".encode()).decode()
    headers = {"Authorization": f"Basic {basic}"}
    stranger = operated.client().http
    assert (await stranger.get("/session", headers=headers)).status_code == 200
    pause = "/subscriptions/none/pause"
    assert (await stranger.post(pause, headers=headers)).status_code == 403
    assert (await stranger.post(pause, headers=headers | OWN_HEADER)).status_code == 404


async def test_behind_https_the_cookie_is_secure(operated: Operated) -> None:
    response = await operated.page.http.post(
        "/session", json={"token": operated.token}, headers={"X-Forwarded-Proto": "https"}
    )
    assert "; Secure" in response.headers["set-cookie"]


async def test_a_token_without_the_scope_and_an_unknown_one_cannot_log_in(
    operated: Operated,
) -> None:
    stranger = operated.client()
    _, token = await operated.token_of("jmap", "append")
    for wrong in (token, "x", "", "y" * 9000):
        response = await stranger.log_in(wrong)
        assert response.status_code == 401
        assert response.headers["content-type"] == "application/problem+json"
        assert "set-cookie" not in response.headers
    assert (await stranger.http.get("/events")).status_code == 401
    as_script = operated.client(token)
    assert (await as_script.http.get("/events")).status_code == 403


async def test_an_address_that_fails_too_often_must_wait(operated: Operated) -> None:
    stranger = operated.client()
    tries = (stranger.log_in(f"wrong {number}") for number in range(20))
    answers = sorted(await asyncio.gather(*tries), key=lambda one: one.status_code)
    assert [one.status_code for one in answers] == [401] * 10 + [429] * 10
    assert 0 < int(answers[-1].headers["retry-after"]) <= 60


@pytest.mark.parametrize("cookie", ["", "x", "!!!", "é", "A" * 4000])
async def test_a_cookie_that_was_not_sealed_here_is_no_login(
    operated: Operated, cookie: str
) -> None:
    stranger = operated.client()
    header = [(b"Cookie", f"tidings_console={cookie}".encode())]
    assert (await stranger.http.get("/session", headers=header)).status_code == 401


async def test_what_changes_something_needs_the_header_of_the_page(operated: Operated) -> None:
    refused = await operated.page.http.delete("/session")
    assert refused.status_code == 403
    assert (await operated.page.get("/session"))["user"] == operated.name


async def test_after_a_logout_the_cookie_is_gone(operated: Operated) -> None:
    response = await operated.page.http.delete("/session", headers=OWN_HEADER)
    assert response.status_code == 204
    assert (await operated.page.http.get("/session")).status_code == 401


async def test_a_revoked_token_ends_its_logins_within_seconds(operated: Operated) -> None:
    token_id, token = await operated.token_of("operate")
    page = operated.client()
    assert (await page.log_in(token)).status_code == 200
    await revoke_token(operated.running.everything.pool, token_id)  # told to nobody

    async def is_out() -> bool:
        return (await page.http.get("/session")).status_code == 401

    await eventually(is_out, seconds=5)


async def test_every_answer_has_the_headers_that_keep_others_out(operated: Operated) -> None:
    async with httpx.AsyncClient(base_url=operated.url, trust_env=False) as http:
        paths = ["/console", "/console/", "/console/static/none", "/console/api/none"]
        paths += ["/console/api/session", "/console/api/openapi.json"]
        answers = [await http.get(path) for path in paths]
        answers.append(await http.put("/console/api/session"))
        answers.append(await operated.page.http.get("/events"))
        answers.append(await operated.page.log_in("wrong"))
    statuses = [answer.status_code for answer in answers]
    assert statuses == [308, 200, 404, 404, 401, 401, 405, 200, 401]
    for answer in answers:
        assert {name: answer.headers.get(name) for name in HEADERS} == dict(HEADERS)


async def test_the_page_is_asked_for_again_only_when_it_has_changed(operated: Operated) -> None:
    async with httpx.AsyncClient(base_url=operated.url, trust_env=False) as http:
        page = await http.get("/console/")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert page.headers["cache-control"] == "no-cache"
        again = await http.get("/console/", headers={"If-None-Match": page.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        for path in ("../app.py", "%2e%2e/app.py", "..%2fapp.py", "//etc/passwd", "%00"):
            assert (await http.get(f"/console/static/{path}")).status_code == 404
