"""Which page is made by what."""

from collections.abc import Callable, Mapping
from pathlib import Path

from docs.tables.errors import errors_page
from docs.tables.metrics import metrics_page
from docs.tables.settings import settings_page

DOCS = Path(__file__).parents[1]

PAGES: Mapping[Path, Callable[[], str]] = {
    DOCS / "settings.md": settings_page,
    DOCS / "metrics.md": metrics_page,
    DOCS / "errors.md": errors_page,
}
