"""Spans to a collector by OpenTelemetry, an optional dependency: `pip install tidings[otel]`.

Its SDK's processor sends them from a thread of its own, in batches from a bounded queue: a
collector that is away costs spans and holds up nothing. Only here is OpenTelemetry imported.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from typing import Annotated

import msgspec
from msgspec import Meta

from shared.runtime.errors import CouldNotStartError
from shared.runtime.trace_context import TraceContext
from shared.runtime.traces import Span, Traces

_OTEL_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_EXPORT_SECONDS_MAX = 3  # also of the last ones, at the end of the process


class TracesSettings(msgspec.Struct, frozen=True, kw_only=True):
    """TIDINGS_TRACES_*: of spans; they need `pip install tidings[otel]`."""

    endpoint: str | None = None
    """URL of a collector of OTLP over HTTP, as http://collector:4318; without it
    OTEL_EXPORTER_OTLP_ENDPOINT, and without that no spans are made."""
    sampled_ratio: Annotated[float, Meta(ge=0, le=1)] = 0.0
    """Of the traces that begin here; what comes with a traceparent is sampled as that says."""


@contextmanager
def open_traces(
    settings: TracesSettings, environ: Mapping[str, str], *, process: str
) -> Iterator[Traces]:
    """What is left is sent at the end. Raises CouldNotStartError: it is not installed."""
    if settings.endpoint is None and not any(environ.get(name) for name in _OTEL_ENDPOINTS):
        yield Traces(sampled_ratio=settings.sampled_ratio)
        return
    try:
        collect, end = _exporting(settings.endpoint, process)
    except ImportError as error:
        raise CouldNotStartError(
            "TIDINGS_TRACES_ENDPOINT or OTEL_EXPORTER_OTLP_ENDPOINT is set, and OpenTelemetry is "
            "not installed: `pip install 'tidings[otel]'`, or remove the variable."
        ) from error
    try:
        yield Traces(collect, sampled_ratio=settings.sampled_ratio)
    finally:
        end()


def _exporting(
    endpoint: str | None, process: str
) -> tuple[Callable[[Span], None], Callable[[], None]]:
    from opentelemetry import trace  # noqa: PLC0415 - optional
    from opentelemetry.exporter.otlp.proto.http import trace_exporter  # noqa: PLC0415
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import ReadableSpan  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope  # noqa: PLC0415

    url = None if endpoint is None else f"{endpoint.rstrip('/')}/v1/traces"
    exporter = trace_exporter.OTLPSpanExporter(endpoint=url, timeout=_EXPORT_SECONDS_MAX)
    processor = BatchSpanProcessor(exporter)
    release = version("tidings")
    resource = Resource.create(
        {"service.namespace": "tidings", "service.name": process, "service.version": release}
    )
    scope = InstrumentationScope("tidings", release)

    def context_of(one: TraceContext, span_id: str, *, is_remote: bool) -> trace.SpanContext:
        flags = trace.TraceFlags(trace.TraceFlags.SAMPLED)
        return trace.SpanContext(int(one.trace_id, 16), int(span_id, 16), is_remote, flags)

    def collect(span: Span) -> None:
        context, ended_at = span.context, time.time_ns()
        parent = None
        if context.parent_id is not None:
            parent = context_of(context, context.parent_id, is_remote=True)
        links = [trace.Link(context_of(link, link.span_id, is_remote=True)) for link in span.links]
        code = trace.StatusCode.ERROR if span.is_error else trace.StatusCode.UNSET
        processor.on_end(
            ReadableSpan(
                span.name,
                context_of(context, context.span_id, is_remote=False),
                parent,
                resource,
                dict(span.attributes),
                links=links,
                kind=trace.SpanKind[span.kind.name],
                status=trace.Status(code),
                start_time=ended_at - int(span.seconds * 1e9),
                end_time=ended_at,
                instrumentation_scope=scope,
            )
        )

    return collect, processor.shutdown
