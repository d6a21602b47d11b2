"""`infonce bench collections`: what a collection takes to write, open and ask, over HTTP from a service of its own."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Final

import faiss
import numpy as np
import torch

from infonce.bench.asking import QUERY_COLUMNS, Answers
from infonce.bench.gateway import Gateway, Place, gateway, gateway_at, stack_at
from infonce.bench.reopening import OPENING_COLUMNS, Reopened
from infonce.bench.report import Bars, Numbers, Report
from infonce.bench.rivals import NO_HNSWLIB, K, is_hnswlib_there
from infonce.bench.stored import NDJSON, PARTS, Collection, Documents
from infonce.bench.vectors import Searched
from infonce.bench.writing import WRITING_COLUMNS, Source, Written
from infonce.busy import Busy
from infonce.encoder import Encoder
from infonce.errors import ConfigError

_BARS: Final = (
    Bars(title="a call, p50 ms", key="p50_ms", form=",.2f"),
    Bars(title="queries/s", key="per_second", form=",.0f"),
)
_NAME: Final = "documents"
_UNINDEXED: Final = 1_000
"""Documents for which the service makes no index."""
_QUERY_CHARACTERS: Final = 60
"""Of a text that asks."""
_NEWER: Final = 0.1
"""Of the documents, written again at the end: less than what makes the service build a new index."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """What is stored and asked, and how often."""

    model: Path
    searched: Searched
    texts: Sequence[str]
    """Of the documents where their own are not known, and those that are embedded."""
    num_written: int
    num_texts: int
    rounds: int
    seed: int

    def check(self) -> None:
        """Raise `ConfigError` where the service would make no index."""
        count = len(self.searched.vectors)
        if count <= _UNINDEXED:
            message = f"{self.searched.origin} gives {count:,} vectors to store, and up to {_UNINDEXED:,} have no index"
            raise ConfigError(f"{message}; bring more or raise --vectors", param="vectors")


def measure(setting: Setting, *, say: Busy) -> Iterator[Report]:
    """What is known after each round: first of writing, then of asking a collection that holds everything."""
    say("Loading the model")
    encoder = Encoder.load(setting.model)
    run = _Run(setting, encoder)
    yield from run.write(say=say)
    with tempfile.TemporaryDirectory(prefix="infonce-bench-") as folder:
        place = Place(home=Path(folder), model=setting.model, threads=torch.get_num_threads())
        run.fill(place, say=say)
        with stack_at(place) as served:
            yield from run.ask(served, home=place.home, say=say)


class _Run:
    """What all parts came to until now."""

    def __init__(self, setting: Setting, encoder: Encoder) -> None:
        searched = setting.searched
        parts = np.random.default_rng(setting.seed).permutation(len(searched.vectors)) % PARTS
        self._setting, self._encoder = setting, encoder
        self._documents = Documents(vectors=searched.vectors, texts=searched.texts or setting.texts, parts=parts)
        self._is_embedded = encoder.dimensions == searched.vectors.shape[1]
        self._written = Written(
            Source(
                documents=self._documents,
                count=min(setting.num_written, len(searched.vectors)),
                texts=[
                    f"{number}: {setting.texts[number % len(setting.texts)]}" for number in range(setting.num_texts)
                ],
            ),
            encoder,
        )
        self._answers: Answers | None = None
        self._reopened: Reopened | None = None

    def write(self, *, say: Busy) -> Iterator[Report]:
        """Rounds of writing to a gateway whose jobs wait."""
        with gateway(self._setting.model, threads=torch.get_num_threads()) as (served, model):
            for number in range(self._setting.rounds):
                say(f"Round {number + 1} of {self._setting.rounds}, writing")
                self._written.round(served.url, model, backwards=bool(number % 2))
                yield self._report()

    def fill(self, place: Place, *, say: Busy) -> None:
        """Everything is stored, and the job that indexes it waits: what came later would stand beside the index."""
        say("Filling the collection")
        with gateway_at(place) as served:
            collection = Collection(served.url, _NAME)
            collection.make(
                model=place.model.name if self._is_embedded else None, dimension=self._documents.vectors.shape[1]
            )
            self._written.add_fill(len(self._documents.vectors), seconds=collection.fill(self._documents))

    def ask(self, served: Gateway, *, home: Path, say: Busy) -> Iterator[Report]:
        """Rounds of asking, opening and embedding by a worker; then with newer documents beside the index."""
        say("Waiting for the index")
        collection, queries = Collection(served.url, _NAME), self._setting.searched.queries
        collection.wait_until_indexed()
        faiss.omp_set_num_threads(1)  # as the gateway has it for each search
        reopened = self._reopened = Reopened(served, collection, query=queries[0])
        reopened.round("the index alone")  # before anything else has asked for it
        texts = [text[:_QUERY_CHARACTERS] for text in islice(cycle(self._documents.texts), len(queries))]
        answers = self._answers = Answers(
            collection, self._documents, queries=queries, texts=texts if self._is_embedded else []
        )
        answers.beside(home)
        rounds = self._setting.rounds
        for number in range(rounds):
            say(f"Round {number + 1} of {rounds}, asking")
            answers.round(backwards=bool(number % 2))
            say(f"Round {number + 1} of {rounds}, opening")
            reopened.round("the index alone")
            say(f"Round {number + 1} of {rounds}, embedding by a worker")
            embedded = Collection(served.url, "embedded")
            embedded.make(model=self._setting.model.name, dimension=None)
            self._written.add_job(embedded, number=number)
            embedded.drop()
            yield self._report()
        say("Writing documents beside the index")
        newer = range(round(_NEWER * len(self._documents.vectors)))
        collection.write([b"\n".join(self._documents.lines(newer))], media_type=NDJSON)
        for number in range(rounds):
            say(f"Round {number + 1} of {rounds}, with newer documents")
            answers.round_of_newer(_NEWER)
            reopened.round(f"with {_NEWER:.0%} of the documents newer")
        yield self._report()

    def _report(self) -> Report:
        setting, vectors = self._setting, self._documents.vectors
        notes = [
            "Medians of rounds, taken in turn. One caller on one connection; FAISS and VectorIndex in this process "
            "search the very file that answers over HTTP, in one thread as the gateway does.",
            "Each way of writing fills an empty collection of a gateway without workers, but for the stream that a "
            "worker embeds: its time is from the first byte to the end of the job, its process's start included.",
        ]
        if is_hnswlib_there():
            notes.append("hnswlib has a graph of its own over the same vectors, and gives places alone.")
        else:
            notes.append(NO_HNSWLIB)
        if not self._is_embedded:
            notes.append(
                f"No text was asked: {setting.model.name} has {self._encoder.dimensions} dimensions, "
                f"these vectors {vectors.shape[1]}."
            )
        answers = [] if self._answers is None else self._answers.rows()
        openings = [] if self._reopened is None else self._reopened.rows(vectors.nbytes)
        return Report(
            name="collections",
            tables=[
                Numbers(title="", columns=QUERY_COLUMNS, rows=answers),
                Numbers(title="Writing", columns=WRITING_COLUMNS, rows=self._written.rows()),
                Numbers(title="Opening", columns=OPENING_COLUMNS, rows=openings),
            ],
            bars=_BARS,
            setting={
                "model": setting.model.name,
                "vectors": len(vectors),
                "dimensions": vectors.shape[1],
                "origin": setting.searched.origin,
                "queries": len(setting.searched.queries),
                "k": K,
                "threads": torch.get_num_threads(),
            },
            notes=notes,
        )
