"""`make docs`."""

from docs.tables.pages import PAGES

for path, page in PAGES.items():
    path.write_text(page(), encoding="utf-8")
