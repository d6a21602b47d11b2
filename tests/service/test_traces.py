"""One trace from the request that orders a job to the phases of its child."""

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.testclient import TestClient

from infonce.traces import tracer_provider
from service.app import Seams, create_app
from service.settings import GatewaySettings
from service.store import jobs
from tests.service.conftest import BASE, PAIR, Bell, Gateway, lines
from worker.spans import AttemptSpans

TRACE = "0af7651916cd43dd8448eb211c80319c"
SENT = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}


def provider(exporter: InMemorySpanExporter) -> TracerProvider:
    made = TracerProvider()
    made.add_span_processor(SimpleSpanProcessor(exporter))
    return made


def test_gateway_worker_and_child_are_one_trace(settings: GatewaySettings) -> None:
    seen, bell = InMemorySpanExporter(), Bell()
    app = create_app(settings, Seams(ring=bell.ring, ping=bell.ping, tracers=provider(seen)))
    with TestClient(app, headers=SENT) as http:
        pairs = lines([PAIR | {"query": f"which pet {n}"} for n in range(9)])
        file = http.post("/v1/files", files={"file": ("a.jsonl", pairs)}, data={"purpose": "fine-tune"}).json()["id"]
        id = http.post("/v1/fine_tuning/jobs", json={"model": BASE, "training_file": file}).json()["id"]
        http.get("/healthz")
        with app.state.wiring.database.read() as tx:
            job = jobs.get(tx, "default", id=id)
        requests = [span.name for span in seen.get_finished_spans()]
    at_work = InMemorySpanExporter()
    with AttemptSpans(provider(at_work).get_tracer("test"), job) as spans:
        spans.phase("loading")
        spans.phase("training")
        spans.ended("Publication")
    child, second, attempt = at_work.get_finished_spans()
    assert len(requests) == 2 and not any("healthz" in name for name in requests)
    assert {trace_of(span) for span in (child, second, attempt, *seen.get_finished_spans())} == {TRACE}
    assert (child.name, second.name, attempt.name) == ("child loading", "child training", "job train")
    assert child.parent is not None and attempt.context is not None and child.parent.span_id == attempt.context.span_id
    assert attempt.attributes is not None and attempt.attributes["infonce.outcome"] == "Publication"


def trace_of(span: ReadableSpan) -> str:
    assert span.context is not None
    return f"{span.context.trace_id:032x}"


def test_a_job_that_nobody_traces_has_no_trace(gateway: Gateway) -> None:
    id = gateway.order(training_file=gateway.pairs()).json()["id"]
    with gateway.parts.database.read() as tx:
        assert jobs.get(tx, "default", id=id).traceparent is None


@pytest.mark.parametrize(
    ("env", "is_on"),
    [
        ({}, False),
        ({"INFONCE_OTEL_ENDPOINT": "http://127.0.0.1:1"}, True),
        ({"INFONCE_OTEL_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, True),
    ],
)
def test_spans_are_made_where_a_collector_is_named(env: dict[str, str], is_on: bool) -> None:
    found = tracer_provider(env, service="test")
    assert (found is not None) is is_on
    if found is not None:
        found.shutdown()
