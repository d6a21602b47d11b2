"""The demo, small but whole: real MiniLM, real Valkey, real Celery workers, real HTTP, twice in the same home.

Everything runs under a proxy setting that leads nowhere, as behind a company's proxy that cannot reach our loopback.
"""

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from infonce.docstrings import SetSizes
from infonce.hub import MINILM
from service.client import Client
from service.demo import MARK, NUM_EPOCHS, run
from service.schemas.collections import CollectionObject
from service.schemas.job_answers import FineTuningJob, Job
from service.schemas.jobs import JobCreate
from service.supervisor import Stack, StackSettings
from tests.end_to_end.processes import until
from tests.service.serving import assert_gone, belonging, healthy

SIZES = SetSizes(pairs=96, queries=40, documents=300)
NOWHERE = "http://127.0.0.1:9"  # the port of discard
BUSY_SECONDS = 120.0


@dataclass(frozen=True, kw_only=True)
class Given:
    """A demo that was given, and its stack, which still runs."""

    client: Client
    home: Path
    mark: str
    better: bool
    text: str

    def child(self) -> int | None:
        """The process id of the child that works on a job."""
        return next((pid for pid, line in belonging(self.mark, self.home).items() if "worker.child" in line), None)

    def models(self) -> set[str]:
        """The tuned models that are listed; as many folders hold them."""
        listed = {model.id for model in self.client.models() if model.id.startswith("ft:")}
        assert len(listed) == len(list((self.home / "artifacts" / "models").iterdir()))
        return listed


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a demo printed and returned, and what its gateway says about it."""

    better: bool
    text: str
    job: FineTuningJob
    report: Mapping[str, Any]
    collections: list[CollectionObject]
    index_jobs: list[Job]

    @classmethod
    def of(cls, given: Given) -> "Outcome":
        client = given.client
        job = client.job(next(job.id for job in client.jobs(metadata=MARK) if job.status == "succeeded"))
        collections = [client.collection(f"docstrings-{job.id[-8:]}-{suffix}") for suffix in ("base", "tuned")]
        ids = [collection.id for collection in collections]
        return cls(
            better=given.better,
            text=given.text,
            job=job,
            report=client.report(job.id),
            collections=collections,
            index_jobs=[job for job in client.jobs() if job.subject in ids],
        )


@contextmanager
def demo(home: Path) -> Iterator[Given]:
    """A demo was given; its stack runs inside, and nothing of it is left afterwards."""
    mark, out = uuid4().hex, StringIO()
    stack = Stack(StackSettings(home=home, environment={**os.environ, "MARK": mark}))
    try:
        with redirect_stdout(out):
            better = run(stack, seed=42, keep=False, sizes=SIZES)
        with Client(stack.url) as client:
            yield Given(client=client, home=home, mark=mark, better=better, text=out.getvalue())
    finally:
        stack.stop()
    assert_gone(mark, home)


def asked(training_file: str, *, held_out: float, n_epochs: int, metadata: Mapping[str, str]) -> JobCreate:
    hyperparameters = {"max_seq_length": 32, "n_epochs": n_epochs, "batch_size": 32}
    contrastive = {"hyperparameters": hyperparameters, "evaluation": {"held_out": held_out, "retention": "off"}}
    method = {"contrastive": contrastive}
    body = {"model": MINILM, "training_file": training_file, "method": method, "metadata": dict(metadata)}
    return JobCreate.model_validate(body)


def ended(client: Client, id: str) -> FineTuningJob:
    return until(
        lambda: job if (job := healthy(client, id)).status == "succeeded" else None, "its end", seconds=BUSY_SECONDS
    )


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[list[Outcome], str, Given]]:
    """Two demos of one home; a job that the first one left; and the second one, whose stack still runs."""
    home = tmp_path_factory.mktemp("demo") / "ho me"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("http_proxy", NOWHERE)
        patch.delenv("no_proxy", raising=False)
        with demo(home) as first:
            outcomes = [Outcome.of(first)]
            file = outcomes[0].job.training_file
            left = first.client.create_job(asked(file, held_out=0, n_epochs=50, metadata=MARK)).id
        with demo(home) as second:
            outcomes.append(Outcome.of(second))
            yield outcomes, left, second


@pytest.fixture(scope="module", params=[0, 1], ids=["first", "again"])
def outcome(request: pytest.FixtureRequest, told: tuple[list[Outcome], str, Given]) -> Outcome:
    return told[0][request.param]


@pytest.fixture
def given(told: tuple[list[Outcome], str, Given]) -> Given:
    return told[2]


def test_what_it_returns_is_the_verdict_of_the_report(outcome: Outcome) -> None:
    [evaluation] = outcome.report["summary"]["evaluations"]
    assert outcome.better == (evaluation["comparison"]["verdict"] == "better")
    assert (evaluation["num_documents"], evaluation["num_queries"]) == (SIZES.documents, SIZES.queries)
    assert f"verdict: {evaluation['comparison']['verdict']}" in outcome.text
    assert outcome.job.hyperparameters["n_epochs"] == NUM_EPOCHS


def test_collections_hold_all_documents_without_computing_an_embedding_again(outcome: Outcome) -> None:
    assert [(found.count, found.pending) for found in outcome.collections] == [(SIZES.documents, 0)] * 2
    assert [found.model for found in outcome.collections] == [MINILM, outcome.job.fine_tuned_model]
    results = [(job.result["reused"], job.result["embedded"]) for job in outcome.index_jobs]
    assert results == [(SIZES.documents, 0)] * 2
    assert f"{2 * SIZES.documents} embeddings reused from the evaluation, 0 computed" in outcome.text


def test_three_queries_are_shown_before_and_after(outcome: Outcome) -> None:
    assert outcome.text.count("right answer: rank") == 3
    assert outcome.text.count("before: base model") == outcome.text.count("after: tuned model") == 3


def test_training_that_an_earlier_demo_left_is_cancelled(told: tuple[list[Outcome], str, Given]) -> None:
    _, left, given = told
    until(lambda: given.client.job(left).status == "cancelled", "the end of a cancelled job")


def test_held_out_share_is_judged(told: tuple[list[Outcome], str, Given], given: Given) -> None:
    file, before = told[0][0].job.training_file, given.models()
    job = given.client.create_job(asked(file, held_out=0.2, n_epochs=1, metadata={}))
    done = ended(given.client, job.id)
    [evaluation] = given.client.report(job.id)["summary"]["evaluations"]
    assert evaluation["name"] == "held out" and 14 <= evaluation["num_queries"] <= 24  # a fifth of 96, whole groups
    assert given.models() - before == {done.fine_tuned_model}


def test_child_that_is_killed_costs_an_attempt_and_no_model(
    told: tuple[list[Outcome], str, Given], given: Given
) -> None:
    file, before = told[0][0].job.training_file, given.models()
    job = given.client.create_job(asked(file, held_out=0, n_epochs=4, metadata={}))
    until(lambda: healthy(given.client, job.id).phase == "training", "the training", seconds=BUSY_SECONDS)
    os.kill(until(given.child, "the child"), signal.SIGKILL)
    done = ended(given.client, job.id)
    assert done.attempt == 2 and given.models() - before == {done.fine_tuned_model}
