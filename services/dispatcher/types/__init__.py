"""Declared data types, a file per capability."""
