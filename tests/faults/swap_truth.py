"""What an answer about a moving collection may say and what it must say: computed from the models, beside the service.

What was told a gateway counts from one second after its 200 on, for every gateway; what came later may count or not.
"""

import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from infonce.config import Side
from infonce.encoder import Encoder
from tests.factories import sentences

MODELS = ("acme/tiny", "acme/other")
LIMIT_SECONDS = 1.0
K = 10
NUM_QUERIES = 40
_NEAR = 1e-4  # float32, padded differently in each batch
_AT_ONCE = 500
_MANY_WORDS = 8  # few random sentences that long are alike, to random weights too

Vectors = NDArray[np.float32]
Value = TypeVar("Value")


@dataclass(kw_only=True)
class _Told(Generic[Value]):
    value: Value
    sent: float
    acknowledged: float


class Register(Generic[Value]):
    """What one thing was told to be, by one writer: each value when it was sent, and when it was acknowledged."""

    def __init__(self, value: Value) -> None:
        self._told = [_Told(value=value, sent=-inf, acknowledged=-inf)]

    def send(self, value: Value) -> None:
        """From now on it may be that."""
        self._told.append(_Told(value=value, sent=time.monotonic(), acknowledged=inf))

    def acknowledge(self) -> None:
        """What was sent last holds."""
        self._told[-1].acknowledged = time.monotonic()

    def newest(self) -> tuple[Value, float]:
        """What was sent last, and when it was acknowledged; infinity if it is not."""
        last = self._told[-1]
        return last.value, last.acknowledged

    def possible(self, asked: float, answered: float) -> list[Value]:
        """What an answer may say that was asked for and came at these times."""
        told = list(self._told)  # the writer goes on
        settled = max(place for place, one in enumerate(told) if one.acknowledged <= asked - LIMIT_SECONDS)
        return [one.value for one in told[settled:] if one.sent <= answered]


@dataclass(frozen=True, kw_only=True)
class Made:
    """What one model makes of every text; rows are unit vectors."""

    documents: Vectors
    """(n, D): what is there all the time."""
    late: Vectors
    """(m, D): what comes meanwhile."""
    late_asked: Vectors
    """(m, D): the same texts as queries."""
    queries: Vectors
    """(NUM_QUERIES, D)"""


@dataclass(frozen=True, kw_only=True)
class Question:
    """A body, and the vector that each model compares with: its own of a text, or the one that was sent."""

    body: Mapping[str, Any]
    vectors: Mapping[str, Vectors]


@dataclass
class Tally:
    """What came of it; several threads write here."""

    answered: Counter[str] = field(default_factory=Counter)
    """Queries, by the model that the answer names."""
    num: Counter[str] = field(default_factory=Counter)
    """Moves, writes, late documents that were asked for and found as they are, deleted ones that were not, queries
    whose gateway was gone and that the other one answered."""
    faults: Counter[str] = field(default_factory=Counter)
    """By what was wrong: failed, mixed, missing, stale."""
    told: list[str] = field(default_factory=list)
    """Of each fault."""
    kills: list[str] = field(default_factory=list)
    """Each under way of a move: what became of it."""
    seconds: float = 0.0
    """From the beginning of the load to the end of the last move."""
    slowest: float = 0.0
    slowest_cold: float = 0.0
    """Of a gateway that has just been started, which loads the model and opens the index first."""
    latest: float = 0.0
    """The longest time from the 200 of a write to a question that was answered without it."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def wrong(self, what: str, told: str) -> None:
        """One more fault."""
        with self.lock:
            self.faults[what] += 1
            self.told.append(f"{what}: {told[:300]}")

    def count(self, what: str) -> None:
        """One more."""
        with self.lock:
            self.num[what] += 1

    def took(self, seconds: float, *, is_cold: bool) -> None:
        """An answer."""
        with self.lock:
            if is_cold:
                self.slowest_cold = max(self.slowest_cold, seconds)
            else:
                self.slowest = max(self.slowest, seconds)

    def __str__(self) -> str:
        """All of it in a line."""
        by_model = ", ".join(f"{num} by {model}" for model, num in sorted(self.answered.items()))
        faults = ", ".join(f"{what} {self.faults[what]}" for what in ("failed", "mixed", "missing", "stale"))
        return (
            f"queries {self.answered.total()} ({by_model}), moves {self.num['moves']} in {self.seconds:.0f} s, "
            f"writes {self.num['writes']}, late documents asked for {self.num['late']}, "
            f"deleted ones {self.num['deleted']}, {faults}, slowest answer {self.slowest:.2f} s "
            f"and {self.slowest_cold:.2f} s of a gateway that had just begun, "
            f"every write was seen {self.latest:.2f} s after its 200, answered by the other gateway "
            f"{self.num['moved on']}; {'; '.join(self.kills) or 'nothing was killed in a move'}"
        )


class Truth:
    """The documents, their vectors by both models, and what has been told of late ones and of the version."""

    def __init__(self, models: Path, texts: Mapping[str, str], *, num_late: int) -> None:
        """`num_late`: so many texts can come meanwhile."""
        self._ids, self._texts = list(texts), texts
        self._place_of = {id: place for place, id in enumerate(self._ids)}
        many = (text for text in sentences(20 * num_late, seed=7) if len(text.split()) > _MANY_WORDS)
        self.queries = [text[: len(text) // 2] for text in sentences(NUM_QUERIES)]
        late = list(dict.fromkeys(many))[: 2 * num_late]
        made = {name: _made(models / name, documents=list(texts.values()), late=late) for name in MODELS}
        told_apart = np.flatnonzero(np.logical_and.reduce([_stands_out(one) for one in made.values()]))[:num_late]
        assert len(told_apart) == num_late, f"only {len(told_apart)} texts are unlike all others"
        self.late = [late[place] for place in told_apart]
        self._number = {text: number for number, text in enumerate(self.late)}
        self.made = {
            name: Made(
                documents=one.documents,
                late=one.late[told_apart],
                late_asked=one.late_asked[told_apart],
                queries=one.queries,
            )
            for name, one in made.items()
        }
        one, other = (self.made[name] for name in MODELS)
        differing = np.abs(one.queries @ one.documents.T - other.queries @ other.documents.T) > _NEAR
        assert differing.mean() > 0.99, "the models could not be told apart by their scores"
        self.model_of: dict[str, str] = {}
        """By version."""
        self.version: Register[str] = Register("")
        self.registers: dict[str, Register[int | None]] = {}
        """Of late documents, by id: the number of the text in `late`, or None where there is none."""
        self.last_text: dict[str, int] = {}
        """The same, but of a document that is gone the text that it had."""
        self._owner: dict[int, str] = {}

    def send(self, id: str, number: int | None) -> None:
        """The late document is about to be given that text, or to be deleted."""
        if number is not None:
            self._owner[number], self.last_text[id] = id, number
        self.registers.setdefault(id, Register(None)).send(number)

    def question(self, number: int) -> Question:
        """One of the steady ones: by text, or by a model's vector."""
        place, model = number % NUM_QUERIES, MODELS[number // 2 % 2]
        if number % 4:
            return Question(
                body={"query": self.queries[place], "k": K},
                vectors={name: made.queries[place] for name, made in self.made.items()},
            )
        return _by_vector(self.made[model].queries[place])

    def question_about(self, number: int, *, model: str | None) -> Question:
        """What the document of that late text is the best answer to: the text, or the vector that the model makes."""
        if model is None:
            return Question(
                body={"query": self.late[number], "k": K},
                vectors={name: made.late_asked[number] for name, made in self.made.items()},
            )
        return _by_vector(self.made[model].late[number])

    def faults(
        self, question: Question, said: Mapping[str, Any], *, asked: float, answered: float
    ) -> Iterator[tuple[str, str]]:
        """What is wrong with an answer, and why."""
        model, version = said["model"], said["version"]
        if self.model_of.get(version) != model:
            yield "mixed", f"version {version} is not of {model}"
            return
        if version not in self.version.possible(asked, answered):
            yield "stale", f"version {version} answers, {self.version.newest()[0]} was promoted"
        made, query, hits = self.made[model], question.vectors[model], said["hits"]
        ids, scores = [hit["id"] for hit in hits], [hit["score"] for hit in hits]
        if len(set(ids)) < len(ids) or len(ids) != K or scores != sorted(scores, reverse=True):
            yield "mixed", f"no ranking of {K} documents: {list(zip(ids, scores, strict=True))}"
            return
        for hit in hits:
            vector, wrong = self._vector(hit, made, asked=asked, answered=answered)
            if vector is None:
                yield "stale", wrong
            elif abs(float(vector @ query) - hit["score"]) > _NEAR:
                yield "mixed", f"{hit} has {float(vector @ query)} by {model}"
        lowest = scores[-1] + _NEAR
        better = {self._ids[place] for place in np.flatnonzero(made.documents @ query > lowest)}
        for number in np.flatnonzero(made.late @ query > lowest).tolist():
            id = self._owner.get(number)
            if id is not None and self.registers[id].possible(asked, answered) == [number]:
                better.add(id)
        for id in sorted(better - set(ids)):
            yield "missing", f"{id} is better than the last of {ids} by {model}, version {version}"

    def _vector(
        self, hit: Mapping[str, Any], made: Made, *, asked: float, answered: float
    ) -> tuple[Vectors | None, str]:
        """Of the document that is shown; None where it was not so at that time, and then what is wrong."""
        id, text = hit["id"], hit["text"]
        if (place := self._place_of.get(id)) is not None:
            return (made.documents[place], "") if text == self._texts[id] else (None, f"{id} has another text: {text}")
        register, number = self.registers.get(id), self._number.get(text)
        if register is None or number is None:
            return None, f"nobody wrote {id}: {text}"
        possible = register.possible(asked, answered)
        return (made.late[number], "") if number in possible else (None, f"{id} is text {number}, not of {possible}")


def _by_vector(vector: Vectors) -> Question:
    return Question(body={"vector": vector.tolist(), "k": K}, vectors=dict.fromkeys(MODELS, vector))


def _made(folder: Path, *, documents: Sequence[str], late: Sequence[str]) -> Made:
    encoder = Encoder.load(folder)
    queries = [text[: len(text) // 2] for text in sentences(NUM_QUERIES)]
    return Made(
        documents=encoder.encode(documents, side=Side.DOCUMENT),
        late=encoder.encode(late, side=Side.DOCUMENT),
        late_asked=encoder.encode(late, side=Side.QUERY),
        queries=encoder.encode(queries, side=Side.QUERY),
    )


def _stands_out(made: Made) -> NDArray[np.bool_]:
    """Which late texts, as queries, are clearly nearer to themselves than to all but a few others; (m,)."""
    others = np.concatenate([made.documents, made.late])
    few = np.empty(len(made.late), dtype=np.bool_)
    for start in range(0, len(few), _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        own = np.einsum("md,md->m", made.late_asked[some], made.late[some])
        few[some] = (made.late_asked[some] @ others.T > own[:, None] - 2 * _NEAR).sum(axis=1) < K // 2
    return few
