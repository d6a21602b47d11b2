"""A collection that moves between two models under load: `python -m tests.faults.swap` prints what came of it.

Two gateways answer queries while the collection is promoted and rolled back, documents are written, replaced and
deleted, and a gateway is killed in the middle of a move. No answer may fail; each must be right for the version that it
names, by scores computed beside the service; and what was written must be found by both gateways within a second of its
200, before and after every move.
"""

import argparse
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

import httpx2

from service.schemas.collections import CollectionCreate
from service.store.queue import QUEUE_OF
from service.store.records import JobKind
from tests.end_to_end.processes import answers, free_port, until
from tests.factories import sentences, tiny_model
from tests.faults.real_stack import RealStack, real_stack
from tests.faults.swap_load import PATH, Scene
from tests.faults.swap_truth import LIMIT_SECONDS, MODELS, Tally, Truth

UNDER_WAY = "the gateway had read the request and has not answered it"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How hard it is tried."""

    num_documents: int
    """Up to 20,000 the index is exact, as the comparison is."""
    seconds: float
    num_moves: int
    """Half of them promote, half of them roll back."""
    queries_per_second: float
    writes_per_second: float

    @property
    def num_writes(self) -> int:
        """More than there will be, if the moves do not take twice as long as the pauses between them."""
        return int(self.writes_per_second * (3 * self.seconds + 60))


def main() -> None:
    """Prints what came of it; fails if an answer was wrong or missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=60.0)
    asked = parser.parse_args()
    plan = Plan(
        num_documents=asked.documents, seconds=asked.seconds, num_moves=10, queries_per_second=50, writes_per_second=20
    )
    with tempfile.TemporaryDirectory(prefix="swap-") as folder:
        tally = run(Path(folder), plan)
    print(tally)
    for one in tally.told[:10]:
        print("  " + one)
    sys.exit(bool(tally.told))


def run(folder: Path, plan: Plan) -> Tally:
    """The story once."""
    tiny_model(folder / "models" / MODELS[1], seed=1)
    texts = {f"d{n}": text for n, text in enumerate(sentences(plan.num_documents))}
    with real_stack(folder) as stack, second_gateway(stack) as urls:
        worker(stack)
        versions = filled(stack, texts)
        truth = Truth(folder / "models", texts, num_late=plan.num_writes)
        truth.model_of.update(zip(versions, MODELS, strict=True))
        truth.version.send(versions[0])
        truth.version.acknowledge()
        scene = Scene(urls=urls, truth=truth, tally=Tally())
        time.sleep(LIMIT_SECONDS)  # from here on the first version alone may answer
        for url in urls:
            scene.started(url)
        with scene.under_load(queries_per_second=plan.queries_per_second, writes_per_second=plan.writes_per_second):
            Moves(stack=stack, scene=scene, versions=versions).go_on(plan)
    return scene.tally


@dataclass(kw_only=True)
class Moves:
    """There and back, and once cut off in the middle."""

    stack: RealStack
    scene: Scene
    versions: Sequence[str]
    quickest: float = inf
    """Seconds of a move."""
    draw: random.Random = field(default_factory=lambda: random.Random(1))

    def go_on(self, plan: Plan) -> None:
        """The moves of the plan; from the middle on a gateway is killed at each until one was under way, if need be
        for twice as many.
        """
        tally, number, began = self.scene.tally, 0, time.monotonic()
        while number < plan.num_moves or (not tally.kills and number < 2 * plan.num_moves):
            due = began + (number + 1) * plan.seconds / (plan.num_moves + 1)
            time.sleep(max(0.0, due - time.monotonic()))  # the load goes on meanwhile
            with self.scene.clients() as clients:
                self.scene.look(clients, self.draw)
                if number >= plan.num_moves // 2 and not tally.kills:
                    self.cut_off(number)
                else:
                    self.move(clients[number % 2], number)
                tally.count("moves")
            with self.scene.clients() as clients:
                self.scene.look(clients, self.draw)
            number += 1
        tally.seconds = time.monotonic() - began
        time.sleep(LIMIT_SECONDS)  # the load goes on for as long as a state that has passed might be answered

    def move(self, client: httpx2.Client, number: int) -> None:
        """The collection answers by the other version: promoted, or rolled back to the one before."""
        began = time.monotonic()
        answer = self.send(client, number)
        assert answer.status_code == 200, answer.text
        self.scene.truth.version.acknowledge()
        self.quickest = min(self.quickest, time.monotonic() - began)

    def send(self, client: httpx2.Client, number: int) -> httpx2.Response:
        """The answer of the gateway to that move."""
        wanted, before = self.versions[(number + 1) % 2], self.versions[number % 2]
        path, body = ("promote", {"version": wanted}) if number % 2 == 0 else ("rollback", {})
        self.scene.truth.version.send(wanted)
        return client.post(f"{PATH}/{path}", json=body, headers={"If-Match": f'"{before}"'})

    def cut_off(self, number: int) -> None:
        """The move, whose gateway is killed before it has answered; where it had not moved yet, another one does it."""
        ends: list[str] = []
        with self.scene.clients() as (first, second):
            moving = threading.Thread(target=lambda: ends.append(self.end_of(second, number)))
            began = time.monotonic()
            moving.start()
            time.sleep(self.quickest / 3)
            self.stack.kill("second")
            killed = time.monotonic() - began
            moving.join()
            has_moved = first.get(PATH).json()["active_version"] == self.versions[(number + 1) % 2]
            if has_moved:
                self.scene.truth.version.acknowledge()
            else:
                self.move(first, number)
        self.scene.cold.add(self.scene.urls[1])
        start_second(self.stack, int(self.scene.urls[1].rsplit(":", 1)[1]))
        self.scene.started(self.scene.urls[1])
        if ends == [UNDER_WAY]:
            then = "it was made" if has_moved else "the other gateway made it then"
            told = (
                f"a gateway was killed {1000 * killed:.0f} ms into move {number}, had read it and not answered: {then}"
            )
            self.scene.tally.kills.append(told)

    def end_of(self, client: httpx2.Client, number: int) -> str:
        """How the request for that move ended."""
        try:
            return self.send(client, number).text
        except httpx2.RemoteProtocolError:  # the connection ended in order; with a request unread it would be reset
            return UNDER_WAY
        except httpx2.TransportError as error:
            return str(error)


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


def filled(stack: RealStack, texts: Mapping[str, str]) -> tuple[str, str]:
    """The collection has its documents under the first model; the version that answers, and one by the second model
    that is ready.
    """
    client = stack.client
    client.create_collection(CollectionCreate(name="swapped", model=MODELS[0]))
    added = client.add_documents("swapped", ({"id": id, "text": text} for id, text in texts.items()))
    assert added.job is None or client.wait(added.job, timeout_seconds=600).status == "succeeded"
    with httpx2.Client(base_url=stack.url, trust_env=False, timeout=60) as http:
        made = http.post(f"{PATH}/versions", json={"model": MODELS[1]}).json()
        path = f"{PATH}/versions/{made['id']}"
        until(lambda: http.get(path).json()["status"] == "ready", "the second version", seconds=600)
        return str(http.get(PATH).json()["active_version"]), str(made["id"])


if __name__ == "__main__":
    main()
