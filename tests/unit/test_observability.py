"""The dashboard, the alerts and the runbook speak of what the code counts, and of each other."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

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
