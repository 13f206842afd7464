"""`python -m tests.benchmarks.capacity_page`: write the model's tables into docs/scaling.md."""

from collections.abc import Iterable, Sequence
from math import inf
from pathlib import Path

from tests.benchmarks.capacity_costs import COSTS
from tests.benchmarks.capacity_model import (
    Design,
    Part,
    Workload,
    accounts_of_default_log,
    bounds,
    ceilings,
    first_bound,
    parts,
)

PAGE = Path(__file__).parents[2] / "docs" / "scaling.md"
ACCOUNTS = (10_000, 100_000, 1_000_000, 10_000_000, 100_000_000)


def written(text: str) -> str:
    """The page with its tables as the model says now."""
    for name, lines in _tables().items():
        table = "\n".join(lines)
        before, mark, rest = text.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition("<!-- end -->")
        assert mark, name
        assert end, name
        text = f"{before}{mark}\n{table}\n\n{end}{after}"
    return text


def _tables() -> dict[str, list[str]]:
    return {
        "costs": _costs(),
        "results": _results(),
        "ceilings": _ceilings(),
        "default log": [
            (
                f"With these histories the stream's default size is full at"
                f" {_number(accounts_of_default_log(Workload(accounts=1_000_000)))} accounts."
            )
        ],
    }


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def _costs() -> list[str]:
    rows = [(cost.what, f"{cost.value:,g} {cost.unit}", cost.source) for cost in COSTS]
    return _table(("what", "cost", "source"), rows)


def _results() -> list[str]:
    head = (
        "accounts",
        "design",
        "log: servers, cores, GB of memory, of disk",
        "PostgreSQL: primaries + replicas, cores, TB",
        "dispatchers",
        "gateways",
        "webhook workers",
        "MB/s",
        "nearest bound",
    )
    rows = [
        _result(Workload(accounts=accounts), design) for accounts in ACCOUNTS for design in Design
    ]
    return _table(head, rows)


def _result(workload: Workload, design: Design) -> list[str]:
    found = {part.name: part for part in parts(workload, design)}
    log, postgres = found["log"], found["PostgreSQL"]
    replicas = found.get("read replicas", Part("", 0, 0))
    bound = first_bound(workload, design)
    over = [one.name for one in bounds(workload, design) if one.use > 1]
    nearest = f"{bound.name}: {_use(bound.use)}"
    return [
        f"{workload.accounts:,}",
        design.value,
        (
            f"{_number(log.processes)}, {_number(log.cores)}, {_number(log.memory / 1e9)},"
            f" {_number(log.disk / 1e9)}"
        ),
        (
            f"{_number(postgres.processes)} + {_number(replicas.processes)},"
            f" {_number(postgres.cores + replicas.cores)},"
            f" {_number((postgres.disk + replicas.disk) / 1e12)}"
        ),
        *(
            f"{_number(found[name].processes)} ({_number(found[name].cores)})"
            for name in ("dispatchers", "gateways", "webhook workers")
        ),
        _number(sum(part.network for part in found.values()) / 1e6),
        f"**{nearest}**; {len(over)} over" if over else nearest,
    ]


def _ceilings() -> list[str]:
    rows = [
        (design.value, name, _number(accounts))
        for design in Design
        for name, accounts in list(ceilings(design, Workload(accounts=1)).items())[:5]
    ]
    return _table(("design", "bound", "met at accounts"), rows)


def _use(use: float) -> str:
    return "∞" if use == inf else f"{use:.0%}" if use < 10 else f"{use:,.0f} times"


def _number(value: float) -> str:
    """Two digits are all that such a model knows."""
    if value == inf:
        return "∞"
    if value >= 1e6:
        return f"{float(f'{value / 1e6:.2g}'):,g} M"
    return "0" if value < 0.0005 else f"{float(f'{value:.2g}'):,g}"


def main() -> None:
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
