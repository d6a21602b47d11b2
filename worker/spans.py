"""The trace of one attempt: a span for it under the request that ordered the job, and one for each phase of its child.

The child has no network and no secret, so its parent tells of it, by the phases that it hears of.
"""

from types import TracebackType
from typing import Self

from opentelemetry.trace import Span, Tracer, set_span_in_context

from infonce.traces import context_of
from service.store.records import JobRecord


class AttemptSpans:
    """Open from entering the context until it is left."""

    def __init__(self, tracer: Tracer, job: JobRecord) -> None:
        self._tracer = tracer
        self._job = job
        self._whole: Span | None = None
        self._phase: Span | None = None

    def __enter__(self) -> Self:
        job = self._job
        facts = {"infonce.job": job.id, "infonce.kind": job.kind.value, "infonce.attempt": job.attempt}
        self._whole = self._tracer.start_span(f"job {job.kind}", context=context_of(job.traceparent), attributes=facts)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end_phase()
        if self._whole is not None:
            self._whole.end()

    def phase(self, name: str) -> None:
        """The child is in that phase from now on."""
        assert self._whole is not None, "a child is heard inside the context"
        self._end_phase()
        within = set_span_in_context(self._whole)
        self._phase = self._tracer.start_span(f"child {name}", context=within, attributes={"infonce.phase": name})

    def ended(self, outcome: str) -> None:
        """How the attempt ended."""
        self._end_phase()
        if self._whole is not None:
            self._whole.set_attribute("infonce.outcome", outcome)

    def _end_phase(self) -> None:
        if self._phase is not None:
            self._phase.end()
            self._phase = None
