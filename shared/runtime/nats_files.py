"""Where the declarations of `nats/` are, in a checkout and in an installed wheel.

`shared/runtime/nats` is a link to it, which a wheel holds as a folder of files; the folder cannot
be installed under its own name, which is that of nats-py.
"""

from pathlib import Path

NATS_FILES = Path(__file__).parent / "nats"
