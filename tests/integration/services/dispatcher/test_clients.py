"""Clients written by others, unmodified, over TLS with a self-made certificate."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Generator
from pathlib import Path
from typing import Any

import httpx
import pytest
from jmap.client import JMAPClient
from jmapc import Client
from jmapc.methods import CoreEcho, CoreEchoResponse, CustomMethod, CustomResponse

from shared.store.credentials import issue_token
from shared.store.people import add_user
from tests.support.certificate import Certificate, make_certificate
from tests.support.dispatcher import CONTACTS, RunningDispatcher, running_dispatcher

pytestmark = pytest.mark.integration

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 100


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Certificate:
    made = make_certificate(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(made.path))
    monkeypatch.setenv("NO_PROXY", "*")
    return made


@pytest.fixture
async def dispatcher(
    postgres_dsn: str, certificate: Certificate
) -> AsyncIterator[RunningDispatcher]:
    async with running_dispatcher(postgres_dsn, certificate=certificate) as running:
        await add_user(running.pool, "ada")
        yield running


async def test_jmapc_works_over_tls(dispatcher: RunningDispatcher, tmp_path: Path) -> None:
    _, token = await issue_token(dispatcher.pool, "ada")
    photo = tmp_path / "photo.png"
    photo.write_bytes(PNG)

    def use() -> None:
        host = dispatcher.url.removeprefix("https://")
        client = Client.create_with_api_token(host, token)
        assert client.request(CoreEcho(data={"hello": "world"})) == CoreEchoResponse(
            data={"hello": "world"}
        )
        account = {"accountId": client.account_id}

        def call(name: str, **arguments: Any) -> Any:
            method = CustomMethod(data={**account, **arguments})
            method.jmap_method = name
            setattr(method, "using", {CONTACTS})  # noqa: B010 - a class variable of theirs
            response = client.request(method, raise_errors=True, single_response=True)
            assert isinstance(response, CustomResponse)
            return response.data

        [book] = call("AddressBook/get", ids=None)["list"]
        blob = client.upload_blob(photo)
        card = {
            "addressBookIds": {book["id"]: True},
            "name": {"full": "Ada"},
            "media": {"p": {"kind": "photo", "blobId": blob.id}},
        }
        made = call("ContactCard/set", create={"k": card})["created"]["k"]
        [shown] = call("ContactCard/get", ids=[made["id"]])["list"]
        assert shown["name"] == {"full": "Ada"}
        client.requests_session.close()

    await asyncio.to_thread(use)


class Bearer(httpx.Auth):
    def __init__(self, token: str) -> None:
        self._token = token

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = f"Bearer {self._token}"
        yield request


async def test_jmaplib_works_over_tls(
    dispatcher: RunningDispatcher, certificate: Certificate
) -> None:
    _, token = await issue_token(dispatcher.pool, "ada")
    context = ssl.create_default_context(cafile=str(certificate.path))

    def use() -> None:
        with httpx.Client(verify=context, follow_redirects=True, trust_env=False) as http:
            url = f"{dispatcher.url}/.well-known/jmap"
            client = JMAPClient.connect(url, auth=Bearer(token), http=http)
            assert client.echo(hello=True)["hello"] is True
            with client.batch() as batch:
                books = batch.contacts.address_book.get()
            [book] = books.result.items
            assert book.is_default
            assert book.my_rights.may_write
            uploaded = client.upload(PNG, content_type="image/png")
            assert client.download(str(uploaded.blob_id)) == PNG
            card = {"addressBookIds": {book.id: True}, "name": {"full": "Grace"}}
            with client.batch() as batch:
                made = batch.contacts.contact_card.set(create={"k": card})
                found = batch.contacts.contact_card.query(filter={"name": "grace"})
                shown = batch.contacts.contact_card.get(ids=found.ref("/ids"))
            assert made.result.created["k"].id
            assert [item.name.full for item in shown.result.items] == ["Grace"]
            assert not client.session_stale

    await asyncio.to_thread(use)


async def test_jmaplib_keeps_push_subscriptions(
    dispatcher: RunningDispatcher, certificate: Certificate
) -> None:
    """P-30 to P-33, P-36: as a client that was written without us reads RFC 8620."""
    _, token = await issue_token(dispatcher.pool, "ada")
    context = ssl.create_default_context(cafile=str(certificate.path))

    def use() -> str:
        with httpx.Client(verify=context, follow_redirects=True, trust_env=False) as http:
            url = f"{dispatcher.url}/.well-known/jmap"
            client = JMAPClient.connect(url, auth=Bearer(token), http=http)
            given = {"deviceClientId": "d", "url": "https://127.0.0.1:1/p", "types": ["Email"]}
            with client.batch() as batch:
                made = batch.core.push_subscription.set(create={"k": given})
                got = batch.core.push_subscription.get(ids=None)
            created = made.result.created["k"]
            assert created.expires is not None
            assert [item.id for item in got.result.items] == [created.id]
            assert got.result.items[0].device_client_id == "d"
            with client.batch() as batch:
                updated = batch.core.push_subscription.set(
                    update={
                        str(created.id): {"types": None},
                    }
                )
                refused = batch.core.push_subscription.set(
                    update={str(created.id): {"verificationCode": "guess"}}
                )
                gone = batch.core.push_subscription.set(destroy=[created.id])
            assert str(created.id) in updated.result.updated
            assert refused.result.not_updated[created.id]["type"] == "invalidProperties"
            assert list(gone.result.destroyed) == [created.id]
            return str(created.id)

    created = await asyncio.to_thread(use)
    assert dispatcher.told[-1].subscriptions_ended == [created]
