"""Tidings as a wheel, as the image of compose installs it: nothing of the checkout is needed."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.eventually import PATIENCE
from tests.support.processes import ROOT

pytestmark = pytest.mark.end_to_end

_SECONDS = 120
_USE = """
from pathlib import Path
from shared.log.topology import LogSettings, stream_config
from shared.runtime.nats_files import NATS_FILES
assert Path.cwd() in NATS_FILES.parents, NATS_FILES
assert stream_config(LogSettings())["name"] == "STATE"
print(*sorted(path.name for path in NATS_FILES.iterdir()))
"""


def _run(*command: str, folder: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=_SECONDS * PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_installed_wheel_finds_its_declarations_of_nats(tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels))
    _run("-m", "pip", "wheel", *options, str(ROOT), folder=tmp_path)
    [wheel] = wheels.iterdir()
    names = zipfile.ZipFile(wheel).namelist()
    assert not [name for name in names if name.startswith("nats/")]
    page = [path for path in (ROOT / "services/console/static").rglob("*") if path.is_file()]
    assert {path.relative_to(ROOT).as_posix() for path in page} <= set(names)
    site = tmp_path / "site"
    _run("-m", "pip", "install", "-q", "--no-deps", "-t", str(site), str(wheel), folder=tmp_path)
    found = _run("-c", _USE, folder=tmp_path, PYTHONPATH=str(site)).split()
    assert found == sorted(path.name for path in (ROOT / "nats").iterdir())
    help_text = _run("-m", "services.cli", "--help", folder=tmp_path, PYTHONPATH=str(site))
    assert "migrate" in help_text
