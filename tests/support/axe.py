"""axe-core, the accessibility checker, from npm."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from playwright.async_api import Page

PACKAGE = "axe-core@4.11.0"
_GRAVE = ("serious", "critical")


def axe_installed(folder: Path) -> str:
    """Its source; fails where npm is missing."""
    if shutil.which("npm") is None:
        pytest.fail("npm is missing. Debian: apt-get install --no-install-recommends nodejs npm.")
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", PACKAGE]
    done = subprocess.run(
        command, cwd=folder, check=False, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return (folder / "node_modules/axe-core/axe.min.js").read_text(encoding="utf-8")


async def grave_findings(page: Page, axe: str) -> list[str]:
    """What it finds serious or critical on the page as it is now, with where."""
    # By the debugger, as the page's own policy lets no script of others in.
    await page.evaluate(axe)
    found = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    assert found["passes"], "nothing was looked at"
    return [
        f"{one['id']} ({one['impact']}): {one['help']}; "
        + json.dumps([node["target"] for node in one["nodes"]])
        for one in found["violations"]
        if one["impact"] in _GRAVE
    ]
