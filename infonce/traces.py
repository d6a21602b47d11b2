"""OpenTelemetry spans of a process: sent to a collector where the environment names one, else made by nobody."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from infonce.errors import ConfigError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

ENDPOINT: Final = "INFONCE_OTEL_ENDPOINT"
_STANDARD: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_HEADER: Final = "traceparent"


def tracer_provider(env: Mapping[str, str], *, service: str) -> "TracerProvider | None":
    """What sends this process's spans, over HTTP, to the collector of `INFONCE_OTEL_ENDPOINT` or of the standard
    `OTEL_EXPORTER_OTLP_ENDPOINT`; None where neither is set, or `OTEL_SDK_DISABLED` is true.

    Raises:
        ConfigError: one is set, and the extra `otel` is not installed.
    """
    own = env.get(ENDPOINT)
    if env.get("OTEL_SDK_DISABLED", "").lower() == "true" or not (own or any(env.get(name) for name in _STANDARD)):
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        message = "traces need OpenTelemetry's SDK and exporter, which are not installed; pip install "
        raise ConfigError(f"{message}'infonce-service[otel]'", param=ENDPOINT) from None
    exporter = OTLPSpanExporter(endpoint=f"{own.rstrip('/')}/v1/traces") if own else OTLPSpanExporter()
    name = env.get("OTEL_SERVICE_NAME") or service
    provider = TracerProvider(resource=Resource.create({"service.name": name}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def context_of(traceparent: str | None) -> Context:
    """The context of a span that another process began; an empty one where there was none."""
    return TraceContextTextMapPropagator().extract({} if traceparent is None else {_HEADER: traceparent})
