"""Runs first in a child process, then becomes the server: `launcher.py OPTIONS PROGRAM ARGUMENT…`.

A script of its own (started by path, standard library only) and not a `preexec_fn`, which may
deadlock in a process with threads. OPTIONS is JSON: `parent` (pid), `death_signal`, and where the
parent is root `user` ([uid, gid]) and `capabilities` (numbers that the user keeps).
"""

import ctypes
import json
import os
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_SECUREBITS = 28
_SECBIT_NO_SETUID_FIXUP = 1 << 2
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAPABILITY_VERSION_3 = 0x20080522


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def main() -> None:
    """Take on the identity, ask for the death signal, become the program."""
    options = json.loads(sys.argv[1])
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    if options["user"]:
        _become(libc, options["user"], options["capabilities"])
    if libc is not None:
        # After the change of user, which clears it.
        _check(libc.prctl(_PR_SET_PDEATHSIG, options["death_signal"], 0, 0, 0))
    if os.getppid() != options["parent"]:
        sys.exit("the parent ended before its child began")
    os.execve(sys.argv[2], sys.argv[2:], os.environ)  # noqa: S606, TID251


def _become(libc: ctypes.CDLL | None, user: tuple[int, int], capabilities: list[int]) -> None:
    uid, gid = user
    if libc is not None and capabilities:
        # Capabilities outlive setuid, and count in access(2) too, by which PostgreSQL's programs
        # look for each other.
        _check(libc.prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP, 0, 0, 0))
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if libc is not None and capabilities:
        mask = sum(1 << capability for capability in capabilities)
        data = (_Data * 2)(_Data(mask, mask, mask), _Data(0, 0, 0))
        _check(libc.capset(ctypes.byref(_Header(_CAPABILITY_VERSION_3, 0)), data))
        for capability in capabilities:
            _check(libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability, 0, 0))


def _check(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


if __name__ == "__main__":
    try:
        main()
    except OSError as error:
        sys.exit(f"cannot start {sys.argv[2]}: {error}")
