"""The model behind docs/scaling.md, against points that its coefficients were not taken from."""

from math import inf

import pytest

from tests.benchmarks import capacity_costs as costs
from tests.benchmarks import capacity_model as model
from tests.benchmarks.capacity_model import Design, Workload
from tests.benchmarks.capacity_page import PAGE, written

FACTOR = 2


LOG = Workload(accounts=250_000, active_share=0, replicas=1)
LARGE_LOG = Workload(accounts=1_250_000, active_share=0, replicas=1)
MEASURED = {
    # capacity_log.py, another run: one event each.
    "disk of a log of 250,000": (model.log_disk(LOG), 83.7e6),
    "restart of a log of 250,000": (model.restart_seconds(LOG, 1), 0.71),
    # Another machine, before this design was built; larger events at 250,000.
    "memory of a log of 250,000, larger events": (model.log_memory(LOG), 367e6),
    "memory of a log of 1,250,000, after reads": (model.log_memory(LARGE_LOG), 1.43e9),
    "restart of a log of 1,250,000": (model.restart_seconds(LARGE_LOG, 1), 6.5),
    # capacity_log.py: 4 and 8 tails beside appends, microseconds an event.
    "an append to 4 tails": (costs.LOG_APPEND.value + 4 * costs.LOG_TAIL.value, 172),
    "an append to 8 tails": (costs.LOG_APPEND.value + 8 * costs.LOG_TAIL.value, 170),
    # Another machine: an event to 1 and to 8 tails.
    "a tail on another machine": (costs.LOG_TAIL.value, (372 - 226) / 7),
    # `tidings up` by hand, microseconds a change, less what it takes when idle: eight writers with
    # a stream each, and one writer with twenty streams, of which seven were told of each change.
    "the whole: PostgreSQL": (costs.MUTATION.value + costs.MARK.value, 1_101),
    "the whole: nats-server": (costs.LOG_APPEND.value + 2 * costs.LOG_TAIL.value, 322),
    "one writer: dispatcher, gateway and worker": (
        costs.DISPATCHER_MUTATION.value
        + costs.DISPATCHER_APPEND.value
        + 2 * costs.EVENT.value
        + 6.8 * costs.DELIVERY.value,
        2_047,
    ),
    # ADR 9: deliveries a second of one worker, 2,300 to 3,900; the coefficient is its CPU.
    "webhooks a second": (1 / (costs.WEBHOOK.value * model.MICROSECOND), 2_300),
}


@pytest.mark.parametrize(("modelled", "measured"), MEASURED.values(), ids=MEASURED.keys())
def test_the_model_is_within_a_factor_of_two_of_what_was_measured(
    modelled: float, measured: float
) -> None:
    assert measured / FACTOR <= modelled <= measured * FACTOR


def test_the_tables_of_the_page_are_what_the_model_says() -> None:
    """Else: python -m tests.benchmarks.capacity_page"""
    text = PAGE.read_text(encoding="utf-8")
    assert written(text) == text


@pytest.mark.parametrize("design", Design, ids=lambda design: design.name)
def test_a_ceiling_is_where_its_bound_is_met(design: Design) -> None:
    for name, accounts in model.ceilings(design, Workload(accounts=1)).items():
        below = Workload(accounts=int(accounts * 0.9))
        above = Workload(accounts=int(accounts * 1.1))
        assert dict(model.bounds(below, design))[name] <= 1
        assert dict(model.bounds(above, design))[name] > 1


def test_more_streams_take_away_what_one_stream_bounds() -> None:
    workload = Workload(accounts=10_000_000)
    one = dict(model.bounds(workload, Design.AS_IS))
    many = dict(model.bounds(workload, Design.PARTITIONED))
    assert one["appends of one stream"] > 1 >= many["appends of one stream"]
    assert one["one gateway's tail"] == many["one gateway's tail"]


def test_no_number_of_gateways_does_once_each_is_busy_with_reading() -> None:
    workload = Workload(accounts=100_000_000)
    assert model.gateways(workload, Design.PARTITIONED) == inf
    assert model.gateways(workload, Design.BY_INTEREST) < inf


def test_read_replicas_take_reads_and_leave_writes() -> None:
    workload = Workload(accounts=10_000_000)
    primary, replicas = (
        part
        for part in model.parts(workload, Design.BY_INTEREST)
        if part.name in ("PostgreSQL", "read replicas")
    )
    assert primary.cores == model.write_cores(workload)
    assert replicas.cores == model.read_cores(workload)
