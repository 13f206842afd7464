"""The example method services as processes, started as their READMEs say."""

import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.processes import ROOT, Program, Up


class Notes(Program):
    """examples/notes_python, on the servers of an `up`; returns once it serves."""

    def __init__(self, up: Up, token: str) -> None:
        super().__init__(
            (sys.executable, "-m", "examples.notes_python"),
            environment={
                "NOTES_NATS_URL": up.running.nats_url,
                "NOTES_POSTGRES_URL": up.running.postgres_url,
                "NOTES_TOKEN": token,
            },
        )
        self.wait_for_line("notes are served")


class Tasks(Program):
    """examples/tasks_node in a folder where `install` was."""

    def __init__(self, folder: Path, nats_url: str, token: str) -> None:
        super().__init__(
            (_program("node"), "tasks.js"),
            folder=folder,
            environment={
                "TASKS_NATS_URL": nats_url,
                "TASKS_TOKEN": token,
                "TASKS_JOURNAL": str(folder / "tasks.jsonl"),
            },
        )
        self.wait_for_line("tasks are served")


def install_tasks(folder: Path) -> None:
    """A copy with what npm installs beside it."""
    source = ROOT / "examples" / "tasks_node"
    for path in source.iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    command = (_program("npm"), "install", "--no-audit", "--no-fund", "--no-package-lock")
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=300)


def _program(name: str) -> str:
    path = shutil.which(name)
    assert path is not None, f"{name} is not installed: see the README on make test-node"
    return path
