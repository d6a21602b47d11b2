"""A collection that moves between two models under load: `python -m tests.faults.swap` prints what came of it.

Two gateways answer text queries while the collection is promoted and rolled back, documents are written, and a gateway
is killed. Every answer must be right for the version that it names; none may fail.
"""

import argparse
import itertools
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import numpy as np

from infonce.config import Side
from infonce.encoder import Encoder
from service.schemas.collections import CollectionCreate
from service.store.queue import QUEUE_OF
from service.store.records import JobKind
from tests.end_to_end.processes import answers, free_port, until
from tests.factories import sentences, tiny_model
from tests.faults.real_stack import RealStack, real_stack

MODELS = ("acme/tiny", "acme/other")
NUM_QUERIES = 40
THREADS = 8


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How hard it is tried."""

    num_documents: int
    seconds: float
    num_moves: int
    queries_per_second: float


@dataclass
class Tally:
    """What the queries met."""

    answered: Counter[str] = field(default_factory=Counter)
    """By the model that the answer names."""
    wrong: list[str] = field(default_factory=list)
    moved_on: int = 0
    """Queries whose gateway was gone and that the other one answered."""
    slowest: float = 0.0


def main() -> None:
    """Prints the table; fails if an answer was wrong or missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=60.0)
    asked = parser.parse_args()
    plan = Plan(num_documents=asked.documents, seconds=asked.seconds, num_moves=10, queries_per_second=50.0)
    with tempfile.TemporaryDirectory(prefix="swap-") as folder:
        tally = run(Path(folder), plan)
    print(f"answers {dict(tally.answered)}, moved on to the other gateway {tally.moved_on}")
    print(f"wrong or failed {len(tally.wrong)}, slowest {tally.slowest:.2f} s")
    for one in tally.wrong[:10]:
        print("  " + one)
    sys.exit(bool(tally.wrong))


def run(folder: Path, plan: Plan) -> Tally:
    """The story once."""
    tiny_model(folder / "models" / MODELS[1], seed=1)
    texts = {f"d{n}": text for n, text in enumerate(sentences(plan.num_documents))}
    with real_stack(folder) as stack, second_gateway(stack) as urls:
        worker(stack)
        ready = filled(stack, texts)
        truth = {name: Truth.of(folder / "models" / name, texts) for name in MODELS}
        tally, stop = Tally(), threading.Event()
        ticks = itertools.count()
        load = [
            threading.Thread(target=ask, args=(urls, truth, tally), kwargs={"stop": stop, "ticks": ticks, "plan": plan})
            for _ in range(THREADS)
        ]
        for thread in load:
            thread.start()
        try:
            move(stack, urls, ready, plan=plan)
        finally:
            stop.set()
            for thread in load:
                thread.join()
    return tally


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What a model finds, by comparing everything."""

    queries: Sequence[str]
    best: Sequence[set[str]]
    """Of each query the documents that are best, to rounding."""

    @classmethod
    def of(cls, folder: Path, texts: Mapping[str, str]) -> "Truth":
        """For the first queries."""
        encoder, ids = Encoder.load(folder), list(texts)
        queries = [text[: len(text) // 2] for text in sentences(NUM_QUERIES)]
        scores = encoder.encode(queries, side=Side.QUERY) @ encoder.encode(list(texts.values()), side=Side.DOCUMENT).T
        near = scores >= scores.max(axis=1, keepdims=True) - 1e-4
        return cls(queries=queries, best=[{ids[at] for at in np.flatnonzero(row)} for row in near])


@contextmanager
def second_gateway(stack: RealStack) -> Iterator[list[str]]:
    """The addresses of both gateways; the second one can be killed."""
    url = start_second(stack, free_port())
    yield [stack.url, url]


def start_second(stack: RealStack, port: int) -> str:
    """It answers at that port."""
    url = f"http://127.0.0.1:{port}"
    stack.processes.start("second", ["infonce", "gateway", "--port", str(port)], environment=stack.environment)
    stack.processes.wait_for("second", lambda: answers(f"{url}/readyz"))
    return url


def worker(stack: RealStack) -> None:
    """Index jobs are done."""
    queue = QUEUE_OF[JobKind.INDEX]
    stack.processes.start("light", ["infonce", "worker", "--queue", queue], environment=stack.environment)


def filled(stack: RealStack, texts: Mapping[str, str]) -> str:
    """The collection has its documents under the first model; the id of the version by the second, which is ready."""
    client = stack.client
    client.create_collection(CollectionCreate(name="swapped", model=MODELS[0]))
    added = client.add_documents("swapped", ({"id": id, "text": text} for id, text in texts.items()))
    assert added.job is None or client.wait(added.job, timeout_seconds=600).status == "succeeded"
    with httpx2.Client(base_url=stack.url, trust_env=False, timeout=60) as http:
        made = http.post("/v1/collections/swapped/versions", json={"model": MODELS[1]}).json()
        path = f"/v1/collections/swapped/versions/{made['id']}"
        until(lambda: http.get(path).json()["status"] == "ready", "the second version", seconds=600)
    return str(made["id"])


def ask(
    urls: Sequence[str], truth: Mapping[str, Truth], tally: Tally, *, stop: threading.Event, ticks: Any, plan: Plan
) -> None:
    """Queries at the plan's rate, by turns at both gateways, until told to stop."""
    with ExitStack() as stack:
        clients = [stack.enter_context(httpx2.Client(base_url=url, trust_env=False, timeout=30)) for url in urls]
        ask_by(clients, truth, tally, stop=stop, ticks=ticks, plan=plan)


def ask_by(
    clients: Sequence[httpx2.Client],
    truth: Mapping[str, Truth],
    tally: Tally,
    *,
    stop: threading.Event,
    ticks: Any,
    plan: Plan,
) -> None:
    """Each query goes to one gateway, and to the other one if that is gone."""
    began = time.monotonic()
    while not stop.is_set():
        number = next(ticks)
        wait = began + number / plan.queries_per_second - time.monotonic()
        if wait > 0 and stop.wait(wait):
            break
        at = time.monotonic()
        place = number % NUM_QUERIES
        body = {"query": truth[MODELS[0]].queries[place], "k": 1}
        answer = None
        for client in (clients[number % 2], clients[1 - number % 2]):
            try:
                answer = client.post("/v1/collections/swapped/query", json=body)
                break
            except httpx2.TransportError:
                tally.moved_on += 1
        tally.slowest = max(tally.slowest, time.monotonic() - at)
        if answer is None or answer.status_code != 200:
            tally.wrong.append("no answer" if answer is None else answer.text[:200])
            continue
        said = answer.json()
        found = said["hits"][0]["id"]
        tally.answered[said["model"]] += 1
        if found not in truth[said["model"]].best[place] and not found.startswith("late"):
            tally.wrong.append(f"{said['version']} of {said['model']}: {found} for {body['query']!r}")


def move(stack: RealStack, urls: Sequence[str], ready: str, *, plan: Plan) -> None:
    """The collection goes there and back, while documents come and a gateway dies."""
    pause = plan.seconds / (plan.num_moves + 1)
    with httpx2.Client(base_url=stack.url, trust_env=False, timeout=60) as http:
        for number in range(plan.num_moves):
            time.sleep(pause)  # the load goes on meanwhile
            late = {"documents": [{"id": f"late{number}", "text": f"something else {number}"}]}
            assert http.post("/v1/collections/swapped/documents", json=late).status_code == 200
            if number == plan.num_moves // 2:
                stack.kill("second")
                start_second(stack, int(urls[1].rsplit(":", 1)[1]))
            promote = ("promote", {"version": ready}) if number == 0 else ("rollback", {})
            moved = http.post(f"/v1/collections/swapped/{promote[0]}", json=promote[1])
            assert moved.status_code == 200, moved.text
        time.sleep(pause)


if __name__ == "__main__":
    main()
