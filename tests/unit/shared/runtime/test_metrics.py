from shared.runtime.metrics import DECLARED, Kind, Metric, Metrics


def test_metrics_are_told_in_the_text_format() -> None:
    metrics = Metrics()
    metrics.count(Metric.APPENDS, outcome="appended")
    metrics.count(Metric.APPENDS, 2, outcome="appended")
    metrics.set(Metric.OUTBOX_OLDEST_SECONDS, 7)
    metrics.set(Metric.CONNECTIONS, 3, transport="event_source")
    metrics.observe(Metric.APPEND_SECONDS, 0.2)
    metrics.observe(Metric.HTTP_REQUEST_SECONDS, 0.2, route="/jmap/api")
    text = metrics.text().decode()
    assert 'tidings_appends_total{outcome="appended"} 3.0' in text
    assert "tidings_outbox_oldest_seconds 7.0" in text
    assert 'tidings_connections{transport="event_source"} 3.0' in text
    assert "tidings_append_seconds_count 1.0" in text
    assert 'tidings_http_request_seconds_count{route="/jmap/api"} 1.0' in text


def test_every_metric_is_declared_and_a_gauge_is_there_once_it_is_set() -> None:
    """Else a process would say 0 of what is another one's."""
    metrics = Metrics()
    text = metrics.text().decode()
    for metric, (kind, _, labels) in DECLARED.items():
        head = f"# TYPE {metric} "
        assert (head in text) == (kind is not Kind.GAUGE), metric
        if kind is Kind.GAUGE:
            metrics.set(metric, 7, **dict.fromkeys(labels, "x"))
    text = metrics.text().decode()
    assert all(f"# TYPE {metric} " in text for metric in Metric)


def test_what_others_have_counted_is_told_as_it_is_when_it_is_asked_for() -> None:
    metrics, changes = Metrics(), 0

    def sample() -> None:
        metrics.total(Metric.NATS_CONNECTION_CHANGES, changes, connection="tail")
        metrics.set(Metric.NATS_CONNECTED, changes % 2, connection="tail")

    metrics.on_scrape(sample)
    for changes in (0, 3, 3, 4):
        lines = metrics.text().decode().splitlines()
        told = f'tidings_nats_connection_changes_total{{connection="tail"}} {float(changes)}'
        assert told in lines
        assert f'tidings_nats_connected{{connection="tail"}} {float(changes % 2)}' in lines


def test_a_process_tells_of_its_memory_files_and_start() -> None:
    text = Metrics().text().decode()
    for name in ("resident_memory_bytes", "open_fds", "max_fds", "start_time_seconds"):
        assert f"\nprocess_{name} " in text
