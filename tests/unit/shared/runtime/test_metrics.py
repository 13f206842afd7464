from shared.runtime.metrics import Metric, Metrics


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


def test_every_metric_is_declared() -> None:
    text = Metrics().text().decode()
    for metric in Metric:
        assert f"# TYPE {metric.removesuffix('_total')}" in text, metric
