"""Two gateway processes on one database: what one of them is told, the other one answers by within a second."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest

from infonce.config import Side
from infonce.encoder import Encoder
from tests.end_to_end.processes import until
from tests.factories import sentences, tiny_model
from tests.faults.real_stack import RealStack, real_stack
from tests.faults.swap import second_gateway, start_second, worker
from tests.faults.swap_truth import MODELS

PATH = "/v1/collections/shared"
QUERY = "red cat runs"
LIMIT_SECONDS = 1.0
TEXTS = sentences(40)


class Both:
    """Both gateways, and what they have to find."""

    def __init__(self, models: Path, clients: Sequence[httpx2.Client]) -> None:
        self._clients = clients
        self._encoders = {name: Encoder.load(models / name) for name in MODELS}
        self.documents: dict[str, tuple[str, str]] = {}
        """Text and language."""
        self.model = MODELS[0]
        self.longest = 0.0

    def told(self, at: int, path: str, body: object) -> tuple[Any, float]:
        """The answer of one gateway, and when it was there."""
        answer = self._clients[at].post(PATH + path, json=body)
        acknowledged = time.monotonic()
        assert answer.status_code in (200, 202), answer.text
        return answer.json(), acknowledged

    def agree(self, at: int, acknowledged: float) -> None:
        """The other gateway finds what is there; of its answers the first right one was asked for in time."""
        for client in (self._clients[1 - at], self._clients[at]):
            for lang in (None, "en"):
                asked = self._first_right(client, lang=lang)
                self.longest = max(self.longest, asked - acknowledged)
                acknowledged = time.monotonic()

    def _first_right(self, client: httpx2.Client, *, lang: str | None) -> float:
        """When the first question was asked that was answered right: a slow machine makes it no later."""
        expected = self._expected(lang)
        narrow = {} if lang is None else {"filter": {"type": "eq", "key": "lang", "value": lang}}
        deadline = time.monotonic() + 20.0
        while True:
            at = time.monotonic()
            answer = client.post(f"{PATH}/query", json={"query": QUERY, "k": 1_000, **narrow})
            assert answer.status_code == 200, answer.text
            body = answer.json()
            found = {hit["id"]: (hit["score"], hit["text"]) for hit in body["hits"]}
            if body["model"] == self.model and body["pending"] == 0 and same(found, expected):
                return at
            assert at < deadline, (body["model"], found.keys() ^ expected.keys())

    def _expected(self, lang: str | None) -> dict[str, tuple[float, str]]:
        encoder = self._encoders[self.model]
        texts = {id: text for id, (text, of) in self.documents.items() if lang in (None, of)}
        [query] = encoder.encode([QUERY], side=Side.QUERY)
        scores = encoder.encode(list(texts.values()), side=Side.DOCUMENT) @ query
        return {id: (float(score), text) for (id, text), score in zip(texts.items(), scores, strict=True)}


def same(found: Mapping[str, tuple[float, str]], expected: Mapping[str, tuple[float, str]]) -> bool:
    """The same documents with the same texts, and the same scores to rounding."""
    return found.keys() == expected.keys() and all(
        found[id][1] == text and abs(found[id][0] - score) < 1e-4 for id, (score, text) in expected.items()
    )


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[tuple[RealStack, list[str]]]:
    tiny_model(tmp_path / "models" / MODELS[1], seed=1)
    with real_stack(tmp_path) as stack, second_gateway(stack) as urls:
        worker(stack)
        yield stack, urls


def test_what_one_gateway_is_told_the_other_one_answers_by_within_a_second(
    stack: tuple[RealStack, list[str]], tmp_path: Path
) -> None:
    real, urls = stack
    with ExitStack() as clients:
        opened = [clients.enter_context(httpx2.Client(base_url=url, trust_env=False, timeout=120)) for url in urls]
        both = Both(tmp_path / "models", opened)
        made = opened[0].post("/v1/collections", json={"name": "shared", "model": MODELS[0]})
        assert made.status_code == 201, made.text
        rounds(both)
        first = built(both, opened[1], model=MODELS[0])  # what has no version yet cannot be returned to
        moved(both, 1, "/promote", {"version": first}, model=MODELS[0])
        version = built(both, opened[1], model=MODELS[1])
        write(both, 1, {"before": (TEXTS[30], "en")})
        moved(both, 0, "/promote", {"version": version}, model=MODELS[1])
        rounds(both)
        moved(both, 1, "/rollback", {}, model=MODELS[0])
        real.kill("second")
        write(both, 0, {"meanwhile": (TEXTS[31], "en")}, agree=False)
        start_second(real, int(urls[1].rsplit(":", 1)[1]))
        both.agree(0, time.monotonic())
        rounds(both)
        print(f"longest: {both.longest:.3f} s")
        assert both.longest < LIMIT_SECONDS


def rounds(both: Both) -> None:
    """New, replaced and deleted documents, told to one gateway after the other."""
    for number in range(4):
        at, lang = number % 2, "en" if number < 2 else "de"
        write(both, at, {f"d{(3 * number + n) % 8}": (TEXTS[4 * number + n], lang) for n in range(4)})
        for id in (f"d{number}", f"d{number + 1}"):
            both.documents.pop(id, None)
        _, done = both.told(at, "/documents/delete", {"ids": [f"d{number}", f"d{number + 1}"]})
        both.agree(at, done)


def write(both: Both, at: int, documents: dict[str, tuple[str, str]], *, agree: bool = True) -> None:
    """They are stored, and found by both."""
    rows = [{"id": id, "text": text, "metadata": {"lang": lang}} for id, (text, lang) in documents.items()]
    _, done = both.told(at, "/documents", {"documents": rows})
    both.documents |= documents
    if agree:
        both.agree(at, done)


def moved(both: Both, at: int, path: str, body: object, *, model: str) -> None:
    """The collection answers by that model, and both say so."""
    _, done = both.told(at, path, body)
    both.model = model
    both.agree(at, done)


def built(both: Both, client: httpx2.Client, *, model: str) -> str:
    """The id of a version that a worker has built while what answered went on answering."""
    version, at = both.told(0, "/versions", {"model": model})
    both.agree(0, at)
    path = f"{PATH}/versions/{version['id']}"
    until(lambda: client.get(path).json()["status"] == "ready", f"a version of {model}", seconds=120)
    return str(version["id"])
