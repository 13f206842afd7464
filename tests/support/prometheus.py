"""Prometheus with our alert rules, in a hurry: it looks twice a second and waits for nothing."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import httpx
import yaml

from services.cli.embedded.ports import free_port
from tests.support.eventually import wait_until
from tests.support.processes import ROOT, Program

RULES = ROOT / "observability" / "alerts.yaml"
_LOOK = "500ms"


def program(name: str) -> str:
    """`prometheus` or `promtool`, also where no package has put them."""
    folders = (os.environ.get("TIDINGS_TEST_PROMETHEUS", ""), os.environ.get("PATH", ""))
    found = shutil.which(name, path=":".join(folder for folder in folders if folder))
    assert found is not None, "apt-get install --no-install-recommends prometheus"
    return found


class Prometheus(Program):
    """Scrapes `target`, host and port, as the only process of Tidings."""

    def __init__(self, folder: Path, target: str) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))
        for rule in groups["groups"][0]["rules"]:
            rule["for"] = "0s"
        scrape = {"job_name": "tidings", "static_configs": [{"targets": [target]}]}
        configuration = {
            "global": {"scrape_interval": _LOOK, "evaluation_interval": _LOOK},
            "rule_files": ["rules.yaml"],
            "scrape_configs": [scrape],
        }
        folder.mkdir()
        (folder / "rules.yaml").write_text(yaml.safe_dump(groups), encoding="utf-8")
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(configuration), encoding="utf-8")
        super().__init__(
            (
                program("prometheus"),
                f"--config.file={folder / 'prometheus.yaml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={self.url.removeprefix('http://')}",
            )
        )
        wait_until(self._is_ready, seconds=30, what=self.output)

    def query(self, expression: str) -> list[dict[str, Any]]:
        result: list[dict[str, Any]] = self._get("query", query=expression)["result"]
        return result

    def rules(self) -> list[dict[str, Any]]:
        """Once each was evaluated."""
        [group] = self._get("rules")["groups"]
        rules: list[dict[str, Any]] = group["rules"]
        return rules

    def firing(self) -> set[str]:
        return {rule["name"] for rule in self.rules() if rule["state"] == "firing"}

    def wait_for(self, *alerts: str, seconds: float = 60) -> None:
        wait_until(
            lambda: set(alerts) <= self.firing(),
            seconds=seconds,
            what=lambda: json.dumps(sorted(self.firing())),
        )

    def wait_for_quiet(self, *, seconds: float = 60, but: frozenset[str] = frozenset()) -> None:
        wait_until(
            lambda: not self.firing() - but,
            seconds=seconds,
            what=lambda: json.dumps(sorted(self.firing())),
        )

    def _is_ready(self) -> bool:
        try:
            return all(rule["health"] == "ok" for rule in self.rules()) and bool(self.query("up"))
        except (httpx.HTTPError, ValueError):
            return False

    def _get(self, what: str, **parameters: str) -> dict[str, Any]:
        url = f"{self.url}/api/v1/{what}"
        answer = httpx.get(url, params=parameters, timeout=10, trust_env=False)
        data: dict[str, Any] = answer.raise_for_status().json()["data"]
        return data
