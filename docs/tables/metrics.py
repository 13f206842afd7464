"""docs/metrics.md: what each process counts."""

from docs.tables.markdown import WRITTEN, code, table
from shared.runtime.metrics import DECLARED

_HEAD = f"""# Metrics

{WRITTEN}

`/metrics` of every process, in the format of Prometheus. A process has a line for each metric, and
counts those that are its own. A histogram is also `…_bucket`, `…_sum` and `…_count`.

"""


def metrics_page() -> str:
    rows = [
        [code(metric), kind, ", ".join(map(code, labels)), meaning]
        for metric, (kind, meaning, labels) in DECLARED.items()
    ]
    return _HEAD + table(("metric", "kind", "labels", "meaning"), rows)
