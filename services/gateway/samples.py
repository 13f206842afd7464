"""Values on their way to a histogram: noted where time counts, observed once a second."""

from collections import deque
from typing import TypeAlias

_SAMPLES_MAX = 2000  # of more in a second only the newest are seen

Samples: TypeAlias = deque[float]


def new_samples() -> Samples:
    return deque(maxlen=_SAMPLES_MAX)
