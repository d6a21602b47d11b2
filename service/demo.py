"""The tour: the real stack, real text, and everything over HTTP as any client would do it.

Upload, train, compare, index, search. Nothing here knows more than the client and the answers of the gateway.
"""

import json
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx2
from rich.console import Console

from infonce.docstrings import DocstringSet, SetSizes, installed_sources, read_docstrings
from infonce.hub import MINILM
from infonce.qrels import write_beir
from service.client import Client
from service.client_streams import ENDED
from service.demo_view import JobBar, Neighbours, View, duration
from service.errors import ApiError, ServiceError
from service.schemas.collections import CollectionCreate
from service.schemas.job_answers import FineTuningJob, Job, JobNews
from service.schemas.jobs import JobCreate
from service.supervisor import Stack, StackBroken

SIZES: Final = SetSizes(pairs=3_000, queries=500, documents=3_000)
MAX_SEQ_LENGTH: Final = 128
"""More than half of the texts are shorter; at 256 a step reads a quarter more tokens for little."""
NUM_EPOCHS: Final = 1
"""A second pass over the pairs takes as long again; the first one makes most of the difference."""
NUM_SEARCHED: Final = 60
"""Held-out queries that are asked of both collections; the three that moved most are shown."""
NUM_HITS: Final = 10

MARK: Final = {"made_by": "demo"}
"""The metadata of the demo's trainings, by which the next one finds those that were left unfinished."""

_POLL_SECONDS = 0.5


def run(stack: Stack, *, seed: int, keep: bool, sizes: SetSizes = SIZES, aside: bool = False) -> bool:
    """The tour was given; whether the tuned model is better. With `keep` it goes on serving until interrupted.

    With `aside` all that is shown goes to stderr.

    Raises:
        ServiceError: something refused or failed; the message is one sentence.
    """
    view, began = View(Console(highlight=False, stderr=aside)), time.monotonic()
    short = MINILM.rsplit("/", 1)[-1]
    view.title("infonce demo", f"{short} learns this Python's docstrings; a few minutes, all on this machine")
    with view.waiting("starting broker, gateway and three workers"):
        stack.start()
    text = f"broker, gateway and three workers are ready ({_since(began)})"
    view.step(1, "stack", text=text, note=f"{stack.url} · files in {stack.home}")
    better = _watched(stack, lambda over: _given(stack, view, over=over, seed=seed, sizes=sizes))
    view.line(f"Done in {duration(time.monotonic() - began)}.")
    _say_where(stack, view, keep=keep)
    if keep:
        try:
            stack.watch()
        except KeyboardInterrupt:
            view.line("infonce ends …")
    return better


def _watched(stack: Stack, work: Callable[[threading.Event], bool]) -> bool:
    """What `work` returns, done in a thread of its own while this one hears signals and restarts workers."""
    over = threading.Event()
    with ThreadPoolExecutor(1, thread_name_prefix="tour") as pool:
        tour = pool.submit(work, over)
        try:
            stack.watch(tour.done)
        finally:
            over.set()  # it takes its job back and ends at its next look
    return tour.result()


def _given(stack: Stack, view: View, *, over: threading.Event, seed: int, sizes: SetSizes) -> bool:
    """The tour was given; whether the tuned model is better."""
    try:
        with Client(stack.url) as client, tempfile.TemporaryDirectory() as folder:
            tour = Tour(over=over, client=client, view=view, folder=Path(folder), seed=seed, sizes=sizes)
            return tour.give()
    except httpx2.TransportError as error:
        raise StackBroken(f"the gateway does not answer: {error}") from error
    except ApiError as error:
        raise ServiceError("unavailable", _remedied(error, stack)) from error


@dataclass(frozen=True, kw_only=True, slots=True)
class Tour:
    """What every step needs."""

    over: threading.Event
    """Set when the tour has to end early."""
    client: Client
    view: View
    folder: Path
    seed: int
    sizes: SetSizes

    def give(self) -> bool:
        """All steps after the start of the stack; whether the tuned model is better."""
        self._clear()
        data, training_file, eval_file = self._data()
        job = self._train(training_file, eval_file)
        assert job.evaluation is not None and job.fine_tuned_model is not None
        evaluation = job.evaluation["evaluations"][0]
        self.view.step(4, "result", text="base against tuned model, on queries that neither has seen")
        self.view.metrics(evaluation)
        self._search(data, job)
        return bool(evaluation["comparison"]["verdict"] == "better")

    def _clear(self) -> None:
        """No training of an earlier demo that was killed stands in the way; their index jobs take only seconds."""
        for job in self.client.jobs(metadata=MARK):
            if job.status not in ENDED:
                self._cancel(job.id)

    def _data(self) -> tuple[DocstringSet, str, str]:
        """The data set, and the ids of its two uploads."""
        began = time.monotonic()
        with self.view.waiting("reading docstrings"):
            data = read_docstrings(installed_sources(), self.sizes, seed=self.seed, stop=self.over.is_set)
            pairs, judged = self.folder / "docstrings.jsonl", self.folder / "docstrings-eval.zip"
            lines = (json.dumps({"anchor": pair.anchor, "positive": pair.positive}) for pair in data.train)
            pairs.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
            write_beir(data.eval_set, judged)
        with self.view.waiting("uploading"):
            uploads = self.client.upload(pairs, "fine-tune"), self.client.upload(judged, "eval")
        num_pairs, num_documents = len(data.train), len(data.eval_set.corpus)
        sizes = f"{num_pairs:,} pairs, {num_documents:,} documents, {len(data.eval_set.queries):,} held-out queries"
        megabytes = sum(file.bytes for file in uploads) / 1e6
        example = data.train[0]
        note = f"such as “{example.anchor}” → {example.positive.partition('(')[0]}"
        text = f"{sizes}\nread, checked and uploaded, {megabytes:.1f} MB ({_since(began)})"
        self.view.step(2, "data", text=text, note=note)
        return data, uploads[0].id, uploads[1].id

    def _train(self, training_file: str, eval_file: str) -> FineTuningJob:
        """The ended training."""
        evaluation = {"file": eval_file, "held_out": 0, "retention": "off"}  # its probe takes a minute
        hyperparameters = {"max_seq_length": MAX_SEQ_LENGTH, "n_epochs": NUM_EPOCHS}
        method = {"hyperparameters": hyperparameters, "evaluation": evaluation}
        asked = {
            "model": MINILM,
            "training_file": training_file,
            "suffix": "docstrings",
            "seed": self.seed,
            "metadata": MARK,
            "method": {"type": "contrastive", "contrastive": method},
        }
        began = time.monotonic()
        job = self.client.create_job(JobCreate.model_validate(asked))
        phases = Phases()
        with self.view.job() as bar:
            self.follow(job.id, bar, phases=phases)
        job = self.client.job(job.id)
        settings = job.method["contrastive"]["hyperparameters"]
        text = f"{job.fine_tuned_model} ({_since(began)})"
        chosen = (
            f"{settings['batch_size']} pairs a step · learning rate {settings['learning_rate']:g} · "
            f"{settings['precision']} (measured)"
        )
        self.view.step(3, "training", text=text, note=f"{phases.text()}\n{chosen}")
        return job

    def _search(self, data: DocstringSet, job: FineTuningJob) -> None:
        """Two collections of the same documents, and what moved between them."""
        began = time.monotonic()
        names, reused, embedded = [], 0, 0
        for model, suffix in ((job.model, "base"), (str(job.fine_tuned_model), "tuned")):
            name = f"docstrings-{job.id[-8:]}-{suffix}"
            self.client.create_collection(CollectionCreate(name=name, model=model))
            lines = ({"id": id, "text": text} for id, text in data.eval_set.corpus.items())
            added = self.client.add_documents(name, lines)
            names.append(name)
            if added.job is None:  # few documents are embedded before the answer
                embedded += added.accepted
                continue
            with self.view.job() as bar:
                result = self.follow(added.job, bar, phases=Phases()).result
            reused, embedded = reused + result["reused"], embedded + result["embedded"]
        with self.view.waiting("searching"):
            shown = self._moved_most(data, names)
        text = f"the documents in two collections, base and tuned ({_since(began)})"
        kept = f"{reused:,} embeddings reused from the evaluation, {embedded:,} computed"
        picked = f"the {len(shown)} of {NUM_SEARCHED} held-out queries whose right answer moved most, up or down:"
        self.view.step(5, "search", text=text, note=f"{kept}\n{picked}")
        self.view.blank()
        for neighbours in shown:
            self.view.neighbours(neighbours)

    def _moved_most(self, data: DocstringSet, names: Sequence[str]) -> list[Neighbours]:
        found = []
        for query, text in list(data.eval_set.queries.items())[:NUM_SEARCHED]:
            before, after = (self.client.query(name, text, k=NUM_HITS).hits for name in names)
            [answer] = data.eval_set.qrels[query]
            found.append(Neighbours(query=text, answer=answer, before=before, after=after))
        found.sort(key=lambda one: abs(one.gain), reverse=True)
        return found[:3]

    def follow(self, id: str, bar: JobBar, *, phases: "Phases") -> Job:
        """The job, once it has succeeded."""

        def look(job: JobNews) -> None:
            if self.over.is_set():
                raise KeyboardInterrupt
            phases.saw(job.phase)
            bar.show(job)

        try:
            job = self.client.wait(id, on_progress=look, poll_seconds=_POLL_SECONDS)
        except KeyboardInterrupt:
            self._cancel(id)  # else the next stack of this home would go on with it
            raise
        if job.status != "succeeded":
            why = job.error.message if job.error is not None else "it was cancelled"
            raise ServiceError("unavailable", f"job {id} has {job.status}: {why}")
        return job

    def _cancel(self, id: str) -> None:
        """The job was asked to stop, if it had not ended just before and the gateway still answers."""
        with suppress(ApiError, httpx2.TransportError):
            self.client.cancel(id)


@dataclass(kw_only=True, slots=True)
class Phases:
    """How long each phase of a job took, as far as polling shows it."""

    began: dict[str, float] = field(default_factory=dict)

    def saw(self, phase: str) -> None:
        """The job is in that phase now."""
        self.began.setdefault(phase, time.monotonic())

    def text(self) -> str:
        """The phases in their order, with their durations."""
        ends = [*list(self.began.values())[1:], time.monotonic()]
        took = zip(self.began.items(), ends, strict=True)
        return " · ".join(f"{phase} {duration(end - start)}" for (phase, start), end in took)


def _since(began: float) -> str:
    return duration(time.monotonic() - began)


def _remedied(error: ApiError, stack: Stack) -> str:
    """The gateway's sentence; keys that exist in the home are not the demo's to know."""
    if error.status == 401:
        return f"{stack.home} has API keys, which the demo does not know; give it a --home of its own"
    return str(error)


def _say_where(stack: Stack, view: View, *, keep: bool) -> None:
    url = stack.url if keep else "http://127.0.0.1:8000"
    how = "It goes on serving until Ctrl-C" if keep else f"To use all this: infonce serve --home {stack.home}"
    view.line(f"{how}\nAPI {url}/v1 · its documentation {url}/docs")
