"""A method service in Python: notes, in a PostgreSQL schema of its own. See README.md."""
