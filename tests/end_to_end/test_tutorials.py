"""Each tutorial, word by word: what is typed is typed, what is shown appears."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.cli.embedded.ports import free_port
from tests.support.processes import ROOT, Up
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
}
# The only words that are changed: ports, which may be taken.
PORTS = ("8080", "8765", "9000")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a stranger has, but for what the tutorials make there."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in (".venv", "Makefile", "docs", "examples", "nats", "services", "shared"):
        (folder / name).symlink_to(ROOT / name)
    return folder


@pytest.fixture(scope="module")
def ports() -> dict[str, str]:
    return {port: str(free_port()) for port in PORTS}


@pytest.fixture(scope="module")
def up(checkout: Path, ports: dict[str, str]) -> Iterator[Up]:
    """As `make run` starts it, where the tutorials' commands look for it."""
    up = Up(checkout / ".tidings", port=int(ports["8080"]))
    try:
        yield up
        assert up.terminate() == 0
    finally:
        up.close()


@pytest.mark.parametrize("name", ["client", "webhooks", "platform"])
def test_a_stranger_can_follow_it_word_by_word(
    name: str, up: Up, checkout: Path, ports: dict[str, str], tmp_path: Path
) -> None:
    assert up.url.endswith(ports["8080"])
    page = (TUTORIALS / f"{name}.md").read_text(encoding="utf-8")
    page = re.sub("|".join(PORTS), lambda found: ports[found[0]], page)
    stranger = Stranger(checkout, tmp_path)
    try:
        stranger.follow(page)
    finally:
        stranger.close()


@pytest.mark.parametrize("path", sorted(TUTORIALS.glob("*.md")), ids=lambda path: path.stem)
def test_what_is_not_run_is_known_and_links_lead_somewhere(path: Path) -> None:
    page = path.read_text(encoding="utf-8")
    for block in blocks_of(page):
        if block.where == NOT_RUN:
            for command in block.text.strip().split("\n"):
                assert command in LEFT_OUT, f"line {block.line}"
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page):
        assert (path.parent / link).exists(), link
