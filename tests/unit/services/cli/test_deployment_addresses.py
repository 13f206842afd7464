"""The routes between NATS servers are made of the hosts of their addresses."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.cli.commands import app


@pytest.mark.parametrize("nats", ["nats-1", "nats-1:4222,nats-2", ":4222", "nats-1:", ""])
def test_an_address_without_host_or_port_is_refused(nats: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["secrets", str(tmp_path / "made"), "--nats", nats])
    assert result.exit_code != 0
    assert "host:port" in result.output
    assert not (tmp_path / "made").exists()
