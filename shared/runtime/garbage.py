"""The garbage collector of a process that serves."""

import gc


def collect_garbage_seldom() -> None:
    """Call it once the process is put together.

    A request, an append, a delivery makes hundreds of objects and no cycles, and the collector
    looked at all that were under way for every 700 of them: a sixth to a seventh of the CPU.
    """
    gc.collect()
    gc.freeze()  # what is there now stays: never looked at again
    gc.set_threshold(100_000, 50, 50)
