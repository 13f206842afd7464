"""The first minutes: what `tidings up` prints, pasted as it is."""

import datetime as dt
import os
import re
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support import curl
from tests.support.eventually import wait_until
from tests.support.processes import ROOT, Up, environment_of_test
from tests.support.tutorial import terminal_environment

pytestmark = pytest.mark.end_to_end


class Terminal:
    """A shell into which one pastes, and its screen."""

    def __init__(self, folder: Path) -> None:
        self._screen = folder / "screen"
        with self._screen.open("wb") as screen:
            self._shell = subprocess.Popen(
                ["/bin/sh"],
                cwd=ROOT,
                env=terminal_environment(folder),
                stdin=subprocess.PIPE,
                stdout=screen,
                stderr=screen,
                start_new_session=True,
            )

    def paste(self, command: str) -> None:
        assert self._shell.stdin is not None
        self._shell.stdin.write(command.encode() + b"\n")
        self._shell.stdin.flush()

    def screen(self) -> str:
        return self._screen.read_text(encoding="utf-8")

    def close(self) -> None:
        os.killpg(self._shell.pid, signal.SIGKILL)
        self._shell.wait(10)
        assert self._shell.stdin is not None
        self._shell.stdin.close()


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    opened = Terminal(tmp_path)
    yield opened
    opened.close()


@contextmanager
def started(data: Path, environment: dict[str, str] | None = None) -> Iterator[Up]:
    up = Up(data, environment=environment)
    try:
        yield up
        assert up.terminate() == 0
    finally:
        up.close()


def printed_commands(up: Up) -> list[str]:
    return [line for line in up.lines if line.startswith("curl ")]


def clients(up: Up) -> int:
    """How many are connected, by the metrics."""
    text = httpx.get(f"{up.url}/metrics", trust_env=False, verify=False).text
    found = re.search(r"^tidings_connections\{.*\} ([0-9.]+)$", text, re.MULTILINE)
    return int(float(found[1])) if found else 0


def pushes(screen: str) -> list[str]:
    return re.findall(r"^data: .*StateChange.*ContactCard.*$", screen, re.MULTILINE)


def test_the_three_printed_commands_work_as_they_are(tmp_path: Path, terminal: Terminal) -> None:
    with started(tmp_path / "data") as up:
        read, change, come_back = printed_commands(up)
        terminal.paste(read)
        wait_until(lambda: clients(up) == 1, what=terminal.screen)
        terminal.paste(change)
        wait_until(lambda: len(pushes(terminal.screen())) == 1, what=terminal.screen)
        assert '"updated":{' in terminal.screen()
        terminal.paste(come_back)
        wait_until(lambda: len(pushes(terminal.screen())) == 2, what=terminal.screen)


def test_a_second_start_says_how_to_get_another_token(tmp_path: Path, terminal: Terminal) -> None:
    with started(tmp_path / "data") as up:
        assert len(printed_commands(up)) == 3
    with started(tmp_path / "data") as up:
        assert not printed_commands(up)
        line = up.wait_for_line("User demo exists; a new token for it: ")
        terminal.paste(line.partition("it: ")[2] + " --json")
        wait_until(lambda: '"token"' in terminal.screen(), what=terminal.screen)


def test_it_ends_within_ten_seconds_while_streams_are_open(tmp_path: Path) -> None:
    with started(tmp_path / "data") as up:
        [token] = set(re.findall("Bearer ([^']+)'", up.output()))
        url = f"{up.url}/jmap/eventsource?types=*&closeafter=no&ping=300"
        readers = [
            subprocess.Popen(
                [sys.executable, curl.__file__, "-H", f"Authorization: Bearer {token}", url],
                stdout=subprocess.DEVNULL,
                env=environment_of_test({"no_proxy": "*"}),
            )
            for _ in range(8)
        ]
        try:
            wait_until(lambda: clients(up) == len(readers), seconds=30)
            began = time.monotonic()
            assert up.terminate() == 0
            assert time.monotonic() - began < 10
            assert [reader.wait(5) for reader in readers] == [0] * len(readers)
        finally:
            for reader in readers:
                reader.kill()
                reader.wait(5)


def test_it_speaks_tls_by_itself(tmp_path: Path, terminal: Terminal) -> None:
    certificate, key = self_signed(tmp_path)
    environment = {"TIDINGS_TLS_CERT": str(certificate), "TIDINGS_TLS_KEY": str(key)}
    with started(tmp_path / "data", environment) as up:
        assert up.url.startswith("https://127.0.0.1:")
        trusted = ssl.create_default_context(cafile=str(certificate))
        ready = httpx.get(f"{up.url}/health/ready", verify=trusted, trust_env=False)
        assert ready.json() == {"status": "ready"}
        read, change, _ = printed_commands(up)
        terminal.paste(read)
        wait_until(lambda: clients(up) == 1, what=terminal.screen)
        terminal.paste(change)
        wait_until(lambda: len(pushes(terminal.screen())) == 1, what=terminal.screen)


def self_signed(folder: Path) -> tuple[Path, Path]:
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(private, hashes.SHA256())
    )
    certificate, key = folder / "cert.pem", folder / "key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return certificate, key
