"""`infonce bench embeddings`: what of the library's speed is left over HTTP, and what an answer and a look cost."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import Final

import numpy as np
import torch

from infonce.bench.callers import Load, call
from infonce.bench.gateway import Gateway, gateway
from infonce.bench.polling import ordered, polled
from infonce.bench.report import OURS, Bars, Column, Numbers, Report, Row
from infonce.busy import Busy
from infonce.encoder import Encoder

_ROUTE: Final = "/v1/embeddings"
_SINGLE_CALLS: Final = 100
_ANSWERED_TEXTS: Final = 1_000
_SPREAD: Final = 0.3  # texts have the tokens that were asked for, more or less by this share
_RATES: Final = (
    Column(heading="tokens a text", key="name"),
    Column(heading="library, texts/s", key="bulk_per_second", form=".1f"),
    Column(heading="one call, texts/s", key="one_call_per_second", form=".1f"),
    Column(heading="callers, texts/s", key="callers_per_second", form=".1f"),
    Column(heading="callers / library", key="callers_share", form=".2f"),
    Column(heading="one caller, p50 ms", key="single_p50_ms", form=".1f"),
    Column(heading="p99 ms", key="single_p99_ms", form=".1f"),
)
_ANSWERS: Final = (
    Column(heading="answer", key="name"),
    Column(heading="beside the encoding, ms", key="rest_ms", form=".1f"),
    Column(heading="MB", key="megabytes", form=".2f"),
)
_LOOKS: Final = (
    Column(heading="request", key="name"),
    Column(heading="one caller, p50 ms", key="p50_ms", form=".2f"),
    Column(heading="p99 ms", key="p99_ms", form=".2f"),
)
_HELD: Final = (Column(heading="the gateway", key="name"), Column(heading="MB", key="megabytes", form=".0f"))
_BARS: Final = (
    Bars(title="callers / library", key="callers_share", form=".2f"),
    Bars(title="one caller, p50 ms", key="single_p50_ms", form=".1f"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """What is asked of what, how often."""

    model: Path
    texts: Sequence[str]
    """To be cut into those that are sent."""
    lengths: Sequence[int]
    callers: int
    calls: int
    """Of one text each, for each length and round."""
    rounds: int
    seed: int


def measure(setting: Setting, *, say: Busy) -> Iterator[Report]:
    """What is known after each round; library and gateway take turns, while the other one rests."""
    say("Loading both")
    encoder, found = Encoder.load(setting.model), _Found(setting)
    with gateway(setting.model, threads=torch.get_num_threads()) as (served, name):
        found.idle_bytes = served.resident_bytes
        target = _Target(served, name)
        target.call([["a first text"]], callers=1)
        job = ordered(served.url, name)
        sent = {length: _texts(encoder, setting, length=length) for length in setting.lengths}
        for number in range(setting.rounds):
            for length, texts in sent.items():
                where = f"Round {number + 1} of {setting.rounds}, {length} tokens"
                say(where)
                found.add(length, _round(encoder, target, texts=texts, callers=setting.callers))
                say.note(f"{where}: {found.rows[length][-1]}")
            found.add_answers(target, texts=sent[min(sent)])
            found.looks.append(polled(job))
            yield found.report()


class _Target:
    """The gateway's route, asked for the vectors of texts."""

    def __init__(self, served: Gateway, model: str) -> None:
        self._url, self._model = served.url + _ROUTE, model

    def call(self, inputs: Sequence[Sequence[str]], *, callers: int, form: str = "base64") -> Load:
        """A call for each of the inputs was answered."""
        bodies = [{"model": self._model, "input": texts, "encoding_format": form} for texts in inputs]
        return call(self._url, bodies, callers=callers)


class _Found:
    """What all rounds until now came to."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self.idle_bytes = 0
        self.rows: dict[int, list[dict[str, float]]] = {length: [] for length in setting.lengths}
        self.looks: list[dict[str, float]] = []
        self._rest: dict[str, list[float]] = {}
        self._bytes: dict[str, int] = {}

    def add(self, length: int, row: dict[str, float]) -> None:
        """One more round of texts of that length."""
        self.rows[length].append(row)

    def add_answers(self, target: _Target, *, texts: Sequence[str]) -> None:
        """What an answer of many vectors takes beside the stages that the server names: reading, writing, sending."""
        many = [texts[place % len(texts)] for place in range(_ANSWERED_TEXTS)]
        for form in ("base64", "float"):
            answer = target.call([many], callers=1, form=form).answers[0]
            self._rest.setdefault(form, []).append(answer.seconds - sum(answer.stages.values()))
            self._bytes[form] = len(answer.body)

    def report(self) -> Report:
        """Medians of the rounds."""
        setting = self._setting
        rates: list[Row] = [
            {
                "kind": "embeddings",
                "side": OURS,
                "name": f"~{length}",
                "rounds": len(rows),
                **_medians(rows),
            }
            for length, rows in self.rows.items()
            if rows
        ]
        answers: list[Row] = [
            {
                "kind": "answer",
                "name": f"{_ANSWERED_TEXTS:,} vectors, {form}",
                "rest_ms": 1_000 * median(seconds),
                "megabytes": self._bytes[form] / 1e6,
            }
            for form, seconds in self._rest.items()
        ]
        looks: list[Row] = [{"kind": "look", "name": "GET of a job that waits", **_medians(self.looks)}]
        held: list[Row] = [{"kind": "held", "name": "before its first model", "megabytes": self.idle_bytes / 1e6}]
        return Report(
            name="embeddings",
            tables=[
                Numbers(title="", columns=_RATES, rows=rates),
                Numbers(title="What an answer takes", columns=_ANSWERS, rows=answers),
                Numbers(title="What a look takes", columns=_LOOKS, rows=looks),
                Numbers(title="What is held in memory", columns=_HELD, rows=held),
            ],
            bars=_BARS,
            setting={
                "model": setting.model.name,
                "callers": setting.callers,
                "calls": setting.calls,
                "rounds": setting.rounds,
                "threads": torch.get_num_threads(),
            },
            notes=["The callers, who share the gateway's cores, send one text a call; medians of rounds."],
        )


def _medians(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    return {key: median(row[key] for row in rows) for key in rows[0]}


def _round(encoder: Encoder, target: _Target, *, texts: Sequence[str], callers: int) -> dict[str, float]:
    """The library alone, all texts in one call, a text a call by many callers, and by one."""
    began = perf_counter()
    encoder.encode(texts)
    bulk = len(texts) / (perf_counter() - began)
    whole = len(texts) / target.call([texts], callers=1).seconds
    load = target.call([[text] for text in texts], callers=callers)
    rate = len(texts) / load.seconds
    single = [one.seconds for one in target.call([[text] for text in texts[:_SINGLE_CALLS]], callers=1).answers]
    return {
        "bulk_per_second": bulk,
        "one_call_per_second": whole,
        "callers_per_second": rate,
        "callers_share": rate / bulk,
        "single_p50_ms": 1_000 * median(single),
        "single_p99_ms": 1_000 * quantiles(single, n=100)[-1],
    }


def _texts(encoder: Encoder, setting: Setting, *, length: int) -> list[str]:
    """As many texts as there are calls, of about so many tokens: pieces of the setting's, cut between tokens."""
    draw = np.random.default_rng(setting.seed)
    ids = np.concatenate([encoder.tokenizer.encode(text, add_special_tokens=False).ids for text in setting.texts])
    low, high = int(length * (1 - _SPREAD)), int(length * (1 + _SPREAD)) + 1
    starts = draw.integers(0, max(1, len(ids) - high), setting.calls)
    sizes = draw.integers(max(1, low), high, setting.calls)
    pieces = (ids[start : start + size] for start, size in zip(starts, sizes, strict=True))
    return [encoder.tokenizer.decode([int(id) for id in piece]) or "a text" for piece in pieces]
