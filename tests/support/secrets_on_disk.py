"""Looks for secrets in the files of servers."""

import base64
from pathlib import Path


def forms_of(secret: bytes) -> list[bytes]:
    """As it might be written down; what follows it may change the last octets of base64."""
    standard = base64.b64encode(secret).rstrip(b"=")[:-1]
    urlsafe = base64.urlsafe_b64encode(secret).rstrip(b"=")[:-1]
    return [secret, standard, urlsafe, secret.hex().encode(), secret.hex().upper().encode()]


def found_in(folders: list[Path], needles: list[bytes]) -> set[bytes]:
    found = set()
    for folder in folders:
        for path in folder.rglob("*"):
            try:
                content = path.read_bytes() if path.is_file() else b""
            except FileNotFoundError:  # of a server that runs
                continue
            found |= {needle for needle in needles if needle in content}
    return found
