"""What a browser needs: CORS on every answer, an ETag on the session."""

import httpx
import pytest

from tests.support.dispatcher import JmapClient

pytestmark = pytest.mark.integration


async def test_a_preflight_is_answered_without_a_token(client: JmapClient) -> None:
    async with httpx.AsyncClient(base_url=client.url, trust_env=False) as browser:
        for path in ("/jmap/api", "/jmap/session", f"/jmap/upload/{client.account_id}/"):
            response = await browser.options(
                path,
                headers={"Origin": "https://app.example", "Access-Control-Request-Method": "POST"},
            )
            assert response.status_code == 204
            assert response.headers["access-control-allow-origin"] == "*"
            assert "Authorization" in response.headers["access-control-allow-headers"]
        refused = await browser.get("/jmap/session", headers={"Origin": "https://app.example"})
        assert refused.status_code == 401
        assert refused.headers["access-control-allow-origin"] == "*"


async def test_the_session_has_an_etag_that_follows_its_state(client: JmapClient) -> None:
    """C-12, C-13, C-14."""
    first = await client.http.get("/jmap/session")
    session = first.json()
    assert first.headers["etag"] == f'"{session["state"]}"'
    assert first.headers["cache-control"] == "no-cache, no-store, must-revalidate"
    again = await client.http.get("/jmap/session", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304
    await client.add_card()  # data is no part of the session
    assert (await client.http.get("/jmap/session")).json() == session
    for name in ("apiUrl", "uploadUrl", "downloadUrl", "eventSourceUrl"):
        assert session[name].startswith(client.url)
    assert session["primaryAccounts"]["urn:ietf:params:jmap:contacts"] == client.account_id
    assert session["username"] == "ada"
