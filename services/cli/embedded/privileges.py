"""Who runs PostgreSQL when we are root, which it refuses to be.

It runs as an unprivileged user that already exists. That user may not pass through our data
directory (0700), perhaps not through the folder of the wheel; it gets a capability for that, so
that no permission of a folder has to be widened.
"""

import os
import pwd
import sys
from pathlib import Path

import msgspec

from shared.runtime.errors import CouldNotStartError

_CAP_CHOWN = 0
_CAP_DAC_OVERRIDE = 1
_CAP_DAC_READ_SEARCH = 2
_CAP_SETGID = 6
_CAP_SETUID = 7
_CAP_SETPCAP = 8


class RunAs(msgspec.Struct, frozen=True, kw_only=True):
    """Another user, and the Linux capabilities that it keeps."""

    uid: int
    gid: int
    capabilities: tuple[int, ...] = ()


def postgres_user(folder: Path, program: Path) -> RunAs | None:
    """The user to run `program` as; None: the user that we are.

    Args:
        folder: the database's files; where they exist, their owner runs it.
        program: the server's binary.

    Raises:
        CouldNotStartError: we are root and may not become anybody else.
    """
    if os.geteuid() != 0:
        return None
    uid, gid = _owner(folder) or _nobody()
    return RunAs(uid=uid, gid=gid, capabilities=_capabilities(program))


def _owner(folder: Path) -> tuple[int, int] | None:
    if not folder.exists():
        return None
    owner = folder.stat()
    return (owner.st_uid, owner.st_gid) if owner.st_uid != 0 else None


def _nobody() -> tuple[int, int]:
    try:
        user = pwd.getpwnam("nobody")
    except KeyError:
        return 65534, 65534  # a number needs no entry in /etc/passwd
    return user.pw_uid, user.pw_gid


def _capabilities(program: Path) -> tuple[int, ...]:
    """Reading and passing through folders; more only where the binary's mode forbids the user."""
    if sys.platform != "linux":
        return ()
    permitted = _permitted()
    others_may_execute = bool(program.stat().st_mode & 0o001)
    may_become = {_CAP_CHOWN, _CAP_SETUID, _CAP_SETGID, _CAP_SETPCAP} <= permitted
    if may_become and others_may_execute and _CAP_DAC_READ_SEARCH in permitted:
        return (_CAP_DAC_READ_SEARCH,)
    if may_become and _CAP_DAC_OVERRIDE in permitted:  # what containers leave to root
        return (_CAP_DAC_OVERRIDE,)
    raise CouldNotStartError(
        "PostgreSQL does not run as root, and this root may not start it as another user: "
        "run tidings as an ordinary user, or set TIDINGS_POSTGRES_URL."
    )


def _permitted() -> set[int]:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("CapPrm:"):
            mask = int(line.split()[1], 16)
            return {number for number in range(64) if mask >> number & 1}
    return set()
