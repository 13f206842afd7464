"""The dashboard, the alerts and the runbook speak of what the code counts, and of each other."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import typer
import yaml
from compose_spec import PyCompose

from docs.tables.log_lines import LINES
from services.cli.commands import app
from services.cli.settings import DECLARED as SETTINGS
from services.webhooks.answers import Outcome
from shared.runtime.metrics import DECLARED, Kind, Metric

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "observability"
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((FOLDER / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))
QUERIES = [
    (panel["title"], target["expr"].replace("$__rate_interval", "5m"))
    for panel in DASHBOARD["panels"]
    for target in panel.get("targets", [])
]
EXPRESSIONS = [(rule["alert"], rule["expr"]) for rule in RULES] + QUERIES
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
# What stands in the runbook like a line of the log, and is none.
OTHERS = {"max_msg_size", "max_connections", "request_id", "sync_interval", "trace_id"}
# Of Prometheus itself, and of its client's process collector.
FOREIGN = {
    "up",
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
}
TARGET_LABELS = {"job", "instance", "process"}
# Several processes tell the same of all: to add them up would count each several times.
TOLD_BY_EACH = {
    Metric.WEBHOOK_LANES,
    Metric.WEBHOOK_OLDEST_SECONDS,
    Metric.WEBHOOK_EVENTS_PENDING,
    Metric.OUTBOX_OLDEST_SECONDS,
    Metric.LOG_OCTETS,
    Metric.LOG_SEQUENCE,
}


def nodes(expression: str) -> list[promql_parser.Expr]:
    found: list[promql_parser.Expr] = []
    promql_parser.walk(promql_parser.parse(expression), found.append)
    return found


def selectors(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Each name with the labels that are asked of it."""
    for node in nodes(expression):
        if isinstance(node, promql_parser.VectorSelector):
            assert node.name is not None
            yield node.name, {matcher.name for matcher in node.matchers.matchers}


def metric_of(series: str) -> Metric:
    """Of a histogram also by the names of its parts."""
    for metric, (kind, _, _) in DECLARED.items():
        if kind is Kind.HISTOGRAM:
            if series in {f"{metric}_{part}" for part in ("bucket", "sum", "count")}:
                return metric
        elif series == metric:
            return metric
    raise AssertionError(f"nothing counts {series}")


@pytest.mark.parametrize(("name", "expression"), EXPRESSIONS)
def test_what_is_asked_is_counted_with_those_labels(name: str, expression: str) -> None:
    asked = list(selectors(expression))
    assert asked, name
    for series, labels in asked:
        if series not in FOREIGN:
            known = {*DECLARED[metric_of(series)][2], "le"}
            assert labels <= known | TARGET_LABELS, name


@pytest.mark.parametrize(("name", "expression"), EXPRESSIONS)
def test_what_is_grouped_by_is_a_label_of_what_is_asked(name: str, expression: str) -> None:
    of_metrics = {
        label
        for series, _ in selectors(expression)
        if series not in FOREIGN
        for label in DECLARED[metric_of(series)][2]
    }
    for node in nodes(expression):
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
            assert set(node.modifier.labels) <= of_metrics | TARGET_LABELS | {"le"}, name


@pytest.mark.parametrize(("name", "expression"), EXPRESSIONS)
def test_a_gauge_that_several_processes_tell_of_all_is_not_summed(
    name: str, expression: str
) -> None:
    summed = [
        node.expr.name
        for node in nodes(expression)
        if isinstance(node, promql_parser.AggregateExpr)
        and str(node.op) == "sum"
        and isinstance(node.expr, promql_parser.VectorSelector)
    ]
    assert not set(summed) & TOLD_BY_EACH, name


@pytest.mark.parametrize(("name", "expression"), EXPRESSIONS)
def test_counters_are_asked_for_their_rate_and_gauges_are_not(name: str, expression: str) -> None:
    ranged = {
        node.vector_selector.name
        for node in nodes(expression)
        if isinstance(node, promql_parser.MatrixSelector)
    }
    for series, _ in selectors(expression):
        if series not in FOREIGN:
            is_gauge = DECLARED[metric_of(series)][0] is Kind.GAUGE
            assert is_gauge == (series not in ranged), name


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_and_where_its_section_is(rule: dict[str, Any]) -> None:
    assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert re.fullmatch(r"\d+[sm]", rule["for"])
    assert rule["annotations"]["summary"].endswith(".")
    path, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert (ROOT / path).read_text(encoding="utf-8") == RUNBOOK
    assert anchor == rule["alert"].lower()


def test_the_runbook_has_a_whole_section_for_each_alert_and_for_no_other() -> None:
    sections: dict[str, str] = dict(
        re.findall(r"^## (\w+)\n(.*?)(?=^#)", RUNBOOK, re.MULTILINE | re.DOTALL)
    )
    assert list(sections) == [rule["alert"] for rule in RULES]
    for title, body in sections.items():
        heads = re.findall(r"^\*\*([\w ]+)\.\*\*", body, re.MULTILINE)
        assert heads == ["Meaning", "First look", "Action", "Undo"], title


def test_the_runbook_names_what_there_is() -> None:
    for link in re.findall(r"\]\(#(\w+)\)", RUNBOOK):
        assert f"## {link}\n" in RUNBOOK.lower()
    for series in set(re.findall(r"\btidings_[a-z_]+\b", RUNBOOK)):
        assert series in set(Metric), series
    variables = {
        prefix + name.upper() for prefix, struct in SETTINGS for name in struct.__struct_fields__
    }
    assert set(re.findall(r"\bTIDINGS_[A-Z_]+\b", RUNBOOK)) <= variables
    words = {word for word in re.findall(r"`([a-z]+(?:_[a-z]+)+)`", RUNBOOK) if word not in OTHERS}
    lines = {word for word in words if not word.startswith("tidings_")}
    assert lines <= {*LINES, *Outcome}


def test_the_runbook_has_commands_that_there_are_with_their_options() -> None:
    told = re.findall(r"(?:^|`)tidings ([a-z][^`\n#]*)", RUNBOOK, re.MULTILINE)
    assert len(told) > 20
    for line in told:
        command: Any = typer.main.get_command(app)
        words = line.split()
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]
        assert not hasattr(command, "commands") or not words, line
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= options, line


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    assert DASHBOARD["uid"] == "tidings"
    assert DASHBOARD["schemaVersion"] >= 39
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert not cells & taken, panel["title"]
        assert all(x < 24 for x, _ in cells)
        taken |= cells
        for target in panel.get("targets", []):
            assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert [item["name"] for item in DASHBOARD["templating"]["list"]] == ["datasource"]


def test_every_metric_is_on_the_dashboard_or_in_an_alert_or_left_out_on_purpose() -> None:
    shown = {
        metric_of(series)
        for _, expression in EXPRESSIONS
        for series, _ in selectors(expression)
        if series not in FOREIGN
    }
    left_out = {
        Metric.APPEND_REQUEST_SECONDS,
        Metric.APPEND_GROUP_REQUESTS,
        Metric.SERVICE_CALL_SECONDS,
        Metric.REPLAYED_STATES,
        Metric.PING_SECONDS,
        Metric.REJOINS,
        Metric.WEBHOOK_EVENTS,
        Metric.WEBHOOK_SECONDS,
    }
    assert set(Metric) - shown == left_out


def test_prometheus_asks_each_process_of_compose() -> None:
    text = (FOLDER / "prometheus.yaml").read_text(encoding="utf-8")
    [scrape] = yaml.safe_load(text)["scrape_configs"]
    addresses = {
        f"{service['networks']['inside']['ipv4_address']}:8080": name
        for name, service in _compose(ROOT / "compose.yaml").items()
        if "ipv4_address" in str(service["networks"])
    }
    asked: dict[str, set[str]] = {
        of_kind["labels"]["process"]: {addresses[target] for target in of_kind["targets"]}
        for of_kind in scrape["static_configs"]
    }
    for kind in ("dispatcher", "gateway", "webhooks"):
        assert asked[kind] == {f"{kind}-1", f"{kind}-2"}


def test_what_is_beside_compose_is_as_closed_as_that_and_finds_its_files() -> None:
    text = (FOLDER / "compose.yaml").read_text(encoding="utf-8")
    PyCompose.from_yaml(text)
    main = str(_compose(ROOT / "compose.yaml"))
    for service in _compose(FOLDER / "compose.yaml").values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
        assert f"'{service['networks']['inside']['ipv4_address']}'" not in main
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert (ROOT / source).is_dir() or source in yaml.safe_load(text)["volumes"]
    for path in (FOLDER / "grafana").rglob("*.yaml"):
        assert yaml.safe_load(path.read_text(encoding="utf-8"))["apiVersion"] == 1


def _compose(path: Path) -> dict[str, dict[str, Any]]:
    services: dict[str, dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))[
        "services"
    ]
    return services
