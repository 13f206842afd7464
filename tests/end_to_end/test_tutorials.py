"""Each tutorial, word by word: what is typed is typed, what is shown appears."""

import re
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from services.cli.embedded.ports import free_port
from tests.support.browser import page_opened
from tests.support.dispatcher import JmapClient
from tests.support.eventually import eventually
from tests.support.processes import ROOT, Program, Up
from tests.support.tutorial import NOT_RUN, Stranger, blocks_of

pytestmark = pytest.mark.end_to_end

TUTORIALS = ROOT / "docs" / "tutorials"
# What no test types, and why. There must be few.
LEFT_OUT = {
    "make run": "is running already, on a port of the test's",
    "cd examples/tasks_node && npm install && TASKS_NATS_URL=$MOODS_NATS_URL TASKS_TOKEN=$APPEND "
    "node tasks.js": "needs npm and its registry; test_method_service_in_node.py runs it",
    "docker build -f Containerfile -t tidings .": "needs Docker; test_cluster.py runs the files",
    'docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/here" -w /here tidings secrets secrets': (
        "the same"
    ),
    "docker compose up --detach --wait": "the same",
    "TIDINGS_TLS_CERT=cert.pem TIDINGS_TLS_KEY=key.pem TIDINGS_PUBLIC_URL=https://jmap.example.com "
    "make run": "needs a name and its certificate; test_first_start.py speaks TLS",
}
# The only words that are changed: ports, which may be taken.
PORTS = ("8080", "8090", "8091", "8765", "9000", "9001")


@pytest.fixture(scope="module")
def ports() -> dict[str, str]:
    return {port: str(free_port()) for port in PORTS}


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory, ports: dict[str, str]) -> Iterator[Up]:
    """As `make run` starts it."""
    up = Up(tmp_path_factory.mktemp("up") / ".tidings", port=int(ports["8080"]))
    try:
        yield up
        assert up.terminate() == 0
    finally:
        up.close()


@pytest.fixture(scope="module")
def following(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    up: Up,
    ports: dict[str, str],
) -> Iterator[dict[str, Future[None]]]:
    """A stranger for each that was asked for, all at once: they mostly wait."""
    asked = [
        str(item.callspec.params["name"])
        for item in request.session.items
        if isinstance(item, pytest.Function)
        and item.originalname == "test_a_stranger_can_follow_it"
    ]
    with ThreadPoolExecutor(max_workers=len(asked)) as threads:
        yield {
            name: threads.submit(follow, name, checkout(tmp_path_factory, up.data), ports)
            for name in asked
        }


def checkout(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """What a stranger has after `make run`; what a tutorial makes there is its own."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in (".venv", "Makefile", "docs", "examples", "nats", "services", "shared"):
        (folder / name).symlink_to(ROOT / name)
    (folder / ".tidings").symlink_to(data)
    return folder


def follow(name: str, folder: Path, ports: dict[str, str]) -> None:
    page = (TUTORIALS / f"{name}.md").read_text(encoding="utf-8")
    screens = folder.with_name(f"{folder.name}-screens")
    screens.mkdir()
    stranger = Stranger(folder, screens)
    try:
        stranger.follow(re.sub("|".join(PORTS), lambda found: ports[found[0]], page))
    finally:
        stranger.close()


@pytest.mark.parametrize("name", ["client", "webhooks", "platform", "operator"])
def test_a_stranger_can_follow_it(name: str, following: dict[str, Future[None]]) -> None:
    """Word by word."""
    following[name].result()


@pytest.mark.parametrize("path", sorted(TUTORIALS.glob("*.md")), ids=lambda path: path.stem)
def test_what_is_not_run_is_known_and_links_lead_somewhere(path: Path) -> None:
    page = path.read_text(encoding="utf-8")
    for block in blocks_of(page):
        if block.where == NOT_RUN:
            for command in block.text.strip().split("\n"):
                assert command in LEFT_OUT, f"line {block.line}"
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page):
        assert (path.parent / link).exists(), link


@pytest.mark.browser
async def test_the_page_shows_changes_and_comes_back_in_a_browser(up: Up, tmp_path: Path) -> None:
    text = (TUTORIALS / "client.md").read_text(encoding="utf-8")
    [page] = [block.text for block in blocks_of(text) if block.where == "tutorial/page.html"]
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    account_id = up.command("user", "add", "reader")["account"]
    token = up.command("token", "issue", "reader")["token"]
    client = JmapClient(up.url, token, account_id)
    with files_served(tmp_path) as url:
        async with (
            client.http,
            page_opened(f"{url}/page.html#{up.url}%20{token}") as (opened, complaints),
        ):

            async def shows(what: str, times: int = 1) -> bool:
                return (await opened.inner_text("#log")).count(what) >= times

            await eventually(lambda: shows("connected"))
            await client.add_card(name={"full": "Ada"})
            await eventually(lambda: shows('"ContactCard":"s2"'))
            up.command("connection", "close", "--user", "reader")
            await eventually(lambda: shows("connected", times=2), seconds=30)
            await client.add_card(name={"full": "Grace"})
            await eventually(lambda: shows('"ContactCard":"s3"'))
    assert not [text for text in complaints if "ERR_" not in text]


@contextmanager
def files_served(folder: Path) -> Iterator[str]:
    port = free_port()
    command = (sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1")
    server = Program((*command, "--directory", str(folder)))
    try:
        server.wait_for_line("Serving HTTP")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.close()
