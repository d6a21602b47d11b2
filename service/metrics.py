"""What Prometheus is told: what this gateway counts itself, and what the jobs' rows say when it is asked."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from service.store import figures
from service.store.database import Database
from service.store.figures import Figures

FIGURES_SECONDS = 2.0
"""How long a scrape waits for the database; Prometheus itself gives up after 10 s."""

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
_TEXTS = tuple(2.0**power for power in range(12))
_SHARES = (0.5, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.999)
_TOKENS = tuple(4.0**power for power in range(1, 9))


class Metrics:
    """The counters of one gateway, in a registry of their own; may be used by several threads."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "infonce_http_requests", "Requests answered.", ("method", "route", "status"), registry=registry
        )
        self._seconds = Histogram(
            "infonce_http_request_seconds",
            "From a request's header to the end of its answer.",
            ("method", "route"),
            registry=registry,
            buckets=_SECONDS,
        )
        self._texts = Histogram(
            "infonce_embedding_batch_texts", "Texts that were embedded together.", registry=registry, buckets=_TEXTS
        )
        self._tokens = Histogram(
            "infonce_embedding_batch_tokens", "Tokens that were embedded together.", registry=registry, buckets=_TOKENS
        )
        self._searches = Histogram(
            "infonce_search_seconds", "Searching a collection's index.", registry=registry, buckets=_SECONDS
        )

        self._recall = Histogram(
            "infonce_search_recall",
            "Of some queries, the share of the nearest documents that the index found.",
            ("type",),
            registry=registry,
            buckets=_SHARES,
        )

        self._damaged = Counter(
            "infonce_damaged_indexes", "Open indexes that were found changed on disk and closed.", registry=registry
        )

    def answered(self, method: str, route: str, *, status: int, seconds: float) -> None:
        """A request was answered; `route` is the template, so that ids make no series of their own."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def embedded(self, num_texts: int, num_tokens: int) -> None:
        """A batch was embedded."""
        self._texts.observe(num_texts)
        self._tokens.observe(num_tokens)

    def searched(self, seconds: float) -> None:
        """A query was searched for."""
        self._searches.observe(seconds)

    def recalled(self, type: str, recall: float) -> None:
        """An index of that type found such a share of what is nearest to a query."""
        self._recall.labels(type).observe(recall)

    def damaged(self) -> None:
        """An index that was open had changed on disk."""
        self._damaged.inc()

    def text(self, found: Figures | None) -> bytes:
        """All of it in Prometheus' text form; without what the database says where that did not answer in time."""
        of_jobs = CollectorRegistry()
        of_jobs.register(_OfJobs(found))
        return generate_latest(self._registry) + generate_latest(of_jobs)


class _OfJobs(Collector):
    """Gauges of one moment."""

    def __init__(self, found: Figures | None) -> None:
        self._found = found

    def collect(self) -> Iterator[Metric]:
        """As the registry asks for them."""
        up = "1 if the database answered this scrape in time; without it the numbers of jobs are missing."
        yield GaugeMetricFamily("infonce_database_up", up, value=self._found is not None)
        if self._found is None:
            return
        waiting = GaugeMetricFamily("infonce_jobs_waiting", "Jobs that wait.", labels=("queue",))
        for queue, count in self._found.waiting.items():
            waiting.add_metric([queue], count)
        running = GaugeMetricFamily("infonce_jobs_running", "Jobs that run.", labels=("kind",))
        for kind, count in self._found.running.items():
            running.add_metric([kind], count)
        ended = CounterMetricFamily("infonce_jobs_ended", "Jobs that have ended.", labels=("kind", "status"))
        spent = CounterMetricFamily(
            "infonce_jobs_ended_seconds", "From first start to end, of these jobs.", labels=("kind", "status")
        )
        for (kind, status), one in self._found.ended.items():
            ended.add_metric([kind, status], one.count)
            spent.add_metric([kind, status], one.seconds)
        speed = "Pairs a second of all trainings that run."
        yield from (waiting, running, ended, spent)
        yield GaugeMetricFamily("infonce_training_pairs_per_second", speed, value=self._found.pairs_per_second)


class FigureReader:
    """Asks the database for figures, in a thread of its own, and waits no longer than it may."""

    def __init__(self, database: Database, *, seconds: float = FIGURES_SECONDS) -> None:
        self._database = database
        self._seconds = seconds
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="figures")
        self._asked: Future[Figures] | None = None

    async def now(self) -> Figures | None:
        """The figures; None where the database is away or slow. What it was asked for before is not asked again."""
        if self._asked is None or self._asked.done():
            self._asked = self._thread.submit(self._read)
        answer = asyncio.wrap_future(self._asked)
        await asyncio.wait((answer,), timeout=self._seconds)
        return answer.result() if answer.done() and answer.exception() is None else None

    def close(self) -> None:
        """Nothing more is asked."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _read(self) -> Figures:
        with self._database.read() as tx:
            return figures.read(tx)
