"""compose.yaml: valid, of one mind with what it mounts, and no more open than it must be."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

from services.cli.deployment import USERS, write_secrets
from services.cli.settings import DECLARED
from shared.runtime.settings import refuse_unknown

ROOT = Path(__file__).parents[2]


def _without_variables(text: str) -> str:
    """Each variable's default in its place, from the innermost out."""
    inner = re.compile(r"\$\{\w+:-([^{}]*)\}")
    while inner.search(text):
        text = inner.sub(r"\1", text)
    return text


_COMPOSE: dict[str, Any] = yaml.safe_load(
    _without_variables((ROOT / "compose.yaml").read_text(encoding="utf-8"))
)
SERVICES: dict[str, dict[str, Any]] = _COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if service["image"] == "tidings:latest"]
KINDS = ("dispatcher", "gateway", "webhooks", "console")
LASTING = [name for name in SERVICES if name not in ("migrate", "admin")]


def test_it_is_what_the_compose_specification_allows() -> None:
    """By a parser that refuses what it does not know."""
    resolved = yaml.safe_dump(_COMPOSE)
    assert PyCompose.from_yaml(resolved).name == "tidings"
    with pytest.raises(Exception, match="helthcheck"):
        PyCompose.from_yaml(resolved.replace("healthcheck:", "helthcheck:", 1))


def test_there_are_three_nats_servers_two_of_each_process_one_database_and_one_proxy() -> None:
    processes = {f"{kind}-{number}" for kind in KINDS for number in (1, 2)}
    others = {"nats-1", "nats-2", "nats-3", "postgres", "proxy", "migrate", "admin"}
    assert set(SERVICES) == processes | others
    assert all(SERVICES[name]["command"] == [name[:-2]] for name in processes)


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_has_a_read_only_root_no_rights_and_limits(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    limits = service["deploy"]["resources"]["limits"]
    assert set(limits) == {"cpus", "memory", "pids"}
    assert ("ports" in service) == (name == "proxy")
    assert "privileged" not in service


@pytest.mark.parametrize("name", LASTING)
def test_what_lasts_is_started_again_and_asked_whether_it_is_well(name: str) -> None:
    assert SERVICES[name]["restart"] == "unless-stopped"
    assert {"test", "interval", "timeout", "retries"} <= set(SERVICES[name]["healthcheck"])


def test_nobody_runs_as_root_but_the_entry_point_of_postgres() -> None:
    containerfile = (ROOT / "Containerfile").read_text(encoding="utf-8")
    assert "\nUSER 10001:10001\n" in containerfile.rpartition("\nFROM ")[2]
    assert not [name for name in OURS if "user" in SERVICES[name]]
    assert SERVICES["proxy"]["user"] == "101:101"
    assert set(SERVICES) - set(OURS) == {"proxy", "postgres"}


def test_the_image_has_what_the_lock_says_by_hash_and_nothing_of_this_checkout_besides() -> None:
    containerfile = (ROOT / "Containerfile").read_text(encoding="utf-8")
    assert "--require-hashes -r requirements.lock" in containerfile
    assert "--no-deps --no-build-isolation ." in containerfile
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", containerfile, re.MULTILINE)
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    wanted = {name for line in copied for name in line.split()}
    assert ignored[0] == "*"
    assert wanted == {line.removeprefix("!") for line in ignored if line.startswith("!")}
    assert all((ROOT / name).exists() for name in wanted)


@pytest.mark.parametrize("name", OURS)
def test_a_process_has_its_own_secrets_and_settings_that_exist(name: str, tmp_path: Path) -> None:
    write_secrets(tmp_path, ["nats-1:4222", "nats-2:4222", "nats-3:4222"], "postgres:5432")
    service = SERVICES[name]
    [file] = service["env_file"]
    owner = {"migrate": "operator", "admin": "operator"}.get(name, name[:-2])
    assert file == f"secrets/{owner}.env"
    environment = _variables(tmp_path / Path(file).name) | service["environment"]
    refuse_unknown(environment, DECLARED)
    if owner == "nats":
        wanted = {
            variable
            for conf in ("cluster", "node", "common", "access")
            for variable in re.findall(r"\$(NATS_\w+)", _nats(conf))
        }
        assert wanted == {variable for variable in environment if variable.startswith("NATS_")}
    else:
        assert owner in USERS
        servers = environment["TIDINGS_NATS_URL"].split(",")
        assert [url.rpartition("@")[2] for url in servers] == [
            "nats-1:4222",
            "nats-2:4222",
            "nats-3:4222",
        ]
        assert environment.get("TIDINGS_LOG_REPLICAS", "3") == "3"
        assert ("TIDINGS_LOG_REPLICAS" in environment) == (owner in ("dispatcher", "operator"))


def test_the_migration_runs_first_when_the_servers_are_well() -> None:
    servers = ("postgres", "nats-1", "nats-2", "nats-3")
    assert SERVICES["migrate"]["depends_on"] == {
        name: {"condition": "service_healthy"} for name in servers
    }
    for kind in KINDS:
        for number in (1, 2):
            depends_on = SERVICES[f"{kind}-{number}"]["depends_on"]
            assert depends_on == {"migrate": {"condition": "service_completed_successfully"}}


def test_the_proxy_asks_the_processes_where_they_are() -> None:
    text = (ROOT / "proxy" / "upstreams.conf").read_text(encoding="utf-8")
    for kind in ("dispatcher", "gateway", "console"):
        upstream = re.search(rf"upstream {kind}s {{(.*?)}}", text, re.DOTALL)
        assert upstream is not None
        assert re.findall(r"server (\S+):8080 ", upstream[1]) == [
            _address(f"{kind}-{number}") for number in (1, 2)
        ]


def test_every_address_is_taken_once_and_only_who_must_can_reach_the_outside() -> None:
    assert _COMPOSE["networks"]["inside"]["internal"] is True
    addresses = [_address(name) for name in SERVICES if name != "admin"]
    assert len(set(addresses)) == len(addresses)
    outside = {name for name, service in SERVICES.items() if "outside" in service["networks"]}
    # Webhooks post; dispatchers resolve the host of a new subscription; the proxy is published.
    assert outside == {
        *("dispatcher-1", "dispatcher-2", "webhooks-1", "webhooks-2", "proxy"),
        *("console-1", "console-2"),  # replays post, too
    }


@pytest.mark.parametrize("name", ["nats-1", "nats-2", "nats-3", "proxy"])
def test_what_is_mounted_is_there(name: str) -> None:
    for volume in SERVICES[name]["volumes"]:
        source = volume.split(":")[0]
        if source.startswith("./"):
            assert (ROOT / source).is_dir()
            assert volume.endswith(":ro")
        else:
            assert source in _COMPOSE["volumes"]


@pytest.mark.parametrize("name", ["dispatcher-1", "webhooks-2", "console-1", "admin"])
def test_whoever_takes_urls_or_posts_to_them_goes_by_the_same_rules(name: str) -> None:
    environment = SERVICES[name]["environment"]
    assert {
        variable: value
        for variable, value in environment.items()
        if variable.startswith("TIDINGS_WEBHOOK_")
    } == {
        "TIDINGS_WEBHOOK_VERIFY": "response",
        "TIDINGS_WEBHOOK_ALLOW": "",
        "TIDINGS_WEBHOOK_CONTACT": "mailto:postmaster@localhost",
    }


def test_clients_are_told_the_port_that_is_published() -> None:
    text = (ROOT / "compose.yaml").read_text(encoding="utf-8").replace("TIDINGS_PORT:-8080", "X:-9")
    services = yaml.safe_load(_without_variables(text))["services"]
    assert services["proxy"]["ports"] == ["9:8080"]
    assert services["dispatcher-1"]["environment"]["TIDINGS_PUBLIC_URL"] == "http://localhost:9"


@pytest.mark.parametrize("name", ["nats", "dispatcher", "operator"])
def test_a_shell_reads_a_file_of_secrets_as_docker_does(name: str, tmp_path: Path) -> None:
    write_secrets(tmp_path, ["nats-1:4222", "nats-2:4222"], "postgres:5432")
    file = tmp_path / f"{name}.env"
    done = subprocess.run(
        ["/bin/sh", "-euc", 'set -a; . "$0"; exec env', str(file)],
        check=True,
        capture_output=True,
        text=True,
        env={},
    )
    assert (
        _variables(file).items()
        <= dict(line.split("=", 1) for line in done.stdout.splitlines()).items()
    )


def _address(name: str) -> str:
    address: str = SERVICES[name]["networks"]["inside"]["ipv4_address"]
    return address


def _nats(name: str) -> str:
    return (ROOT / "nats" / f"{name}.conf").read_text(encoding="utf-8")


def _variables(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines)
