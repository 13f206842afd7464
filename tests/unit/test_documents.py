"""What is written by `make docs` is what the code says now, and says something of everything."""

from pathlib import Path

import msgspec
import pytest

from docs.tables.errors import UndocumentedError, require_same
from docs.tables.pages import PAGES
from docs.tables.source import meanings_of
from services.cli.settings import DECLARED as SETTINGS
from shared.runtime.metrics import DECLARED as METRICS
from shared.runtime.metrics import Metric


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_generated_page_is_current(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == PAGES[path](), "run `make docs`"


@pytest.mark.parametrize(("prefix", "struct"), SETTINGS, ids=str)
def test_every_setting_has_a_meaning(prefix: str, struct: type[msgspec.Struct]) -> None:
    unsaid = [prefix + name.upper() for name, meaning in meanings_of(struct).items() if not meaning]
    shared = {f"TIDINGS_{name}" for name in ("POSTGRES_URL", "NATS_URL", "PUBLIC_URL")}
    assert set(unsaid) <= shared, "write what it means beside or below the field"


def test_every_metric_is_declared_with_a_meaning() -> None:
    assert set(METRICS) == set(Metric)
    assert all(meaning.endswith(".") for _, meaning, _ in METRICS.values())


def test_what_is_not_explained_and_what_is_no_more_is_found() -> None:
    require_same({"crashed": "…"}, {"crashed"})
    with pytest.raises(UndocumentedError, match="mean: crashed"):
        require_same({}, {"crashed"})
    with pytest.raises(UndocumentedError, match="no more: crushed"):
        require_same({"crashed": "…", "crushed": "…"}, {"crashed"})
