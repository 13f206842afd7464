"""Writes docs/settings.md, docs/metrics.md and docs/errors.md from the code: `make docs`."""
