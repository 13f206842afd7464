"""What a child may do, and when it must end."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from services.cli.embedded.child import launch_command
from services.cli.embedded.privileges import postgres_user
from tests.support.eventually import wait_until
from tests.support.processes import is_running

pytestmark = pytest.mark.integration

PYTHON = Path(sys.executable)


def run(tmp_path: Path, program: str, *arguments: str) -> str:
    """As PostgreSQL is run: as somebody else where we are root."""
    run_as = postgres_user(tmp_path / "none", PYTHON)
    command = (str(PYTHON), "-I", "-c", program, *arguments)
    done = subprocess.run(
        launch_command(command, signal.SIGKILL, run_as), capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_a_child_is_never_root(tmp_path: Path) -> None:
    assert run(tmp_path, "import os; print(os.geteuid())") != "0"


def test_a_child_passes_through_a_folder_of_ours_but_does_not_write_there(tmp_path: Path) -> None:
    """access(2) asks for the real user, so a capability alone does not help with it."""
    folder = tmp_path / "ours"
    folder.mkdir(mode=0o700)
    file = folder / "program"
    file.touch(mode=0o755)
    asks = "import os, sys; print(os.access(sys.argv[1], os.R_OK | os.X_OK))"
    assert run(tmp_path, asks, str(file)) == "True"
    writes = "import os, sys; print(os.access(sys.argv[1], os.W_OK))"
    assert run(tmp_path, writes, str(folder)) == str(os.geteuid() != 0)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_child_ends_with_its_parent() -> None:
    """kill -9 of the parent, where the system tells of it."""
    child = "import time, sys; print('up', flush=True); time.sleep(60)"
    parent = (
        "import os, signal, subprocess, sys\n"
        "from services.cli.embedded.child import launch_command\n"
        f"command = launch_command((sys.executable, '-c', {child!r}), signal.SIGTERM, None)\n"
        "child = subprocess.Popen(command, stdout=subprocess.PIPE)\n"
        "child.stdout.read(1)\n"
        "print(child.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([PYTHON, "-c", parent], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL
    pid = int(done.stdout)
    try:
        if sys.platform == "linux":
            wait_until(lambda: not is_running(pid))
    finally:
        if is_running(pid):
            os.kill(pid, signal.SIGKILL)


def test_a_child_whose_parent_is_gone_does_not_begin() -> None:
    [*launch, _, marker] = launch_command(("/bin/echo", "began"), signal.SIGKILL, None)
    orphan = [word.replace(f'"parent": {os.getpid()}', '"parent": -1') for word in launch]
    done = subprocess.run([*orphan, "/bin/echo", marker], capture_output=True, check=False)
    assert done.returncode == 1
    assert not done.stdout
