"""Who asks and writes while a collection moves: both gateways by turns, each at its rate."""

import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from math import inf
from typing import Any

import httpx2

from tests.faults.swap_truth import LIMIT_SECONDS, Question, Tally, Truth

PATH = "/v1/collections/swapped"
THREADS = 8
_OLD_AND_NEW = 4  # so many of the newest late documents are looked for each time, and of all others


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Where it happens, and what is known."""

    urls: Sequence[str]
    truth: Truth
    tally: Tally
    cold: set[str] = field(default_factory=set)
    """Gateways that have answered no question since they were started."""
    stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def clients(self) -> Iterator[list[httpx2.Client]]:
        """One of each gateway."""
        with ExitStack() as stack:
            yield [stack.enter_context(httpx2.Client(base_url=url, trust_env=False, timeout=60)) for url in self.urls]

    def ask(self, clients: Sequence[httpx2.Client], question: Question) -> tuple[Mapping[str, Any] | None, float]:
        """The answer of the first gateway that is there, judged, and when it was asked for; None where it failed."""
        cold = tuple(self.cold)
        answer, asked = self.first_answer(clients, lambda client: client.post(f"{PATH}/query", json=question.body))
        answered = time.monotonic()
        is_cold = answer is not None and str(answer.request.url).startswith(cold)
        self.tally.took(answered - asked, is_cold=is_cold)
        if answer is None or answer.status_code != 200:
            self.tally.wrong("failed", "no gateway answers" if answer is None else answer.text)
            return None, asked
        said: Mapping[str, Any] = answer.json()
        with self.tally.lock:
            self.tally.answered[said["model"]] += 1
        for what, told in self.truth.faults(question, said, asked=asked, answered=answered):
            self.tally.wrong(what, told)
        return said, asked

    def started(self, url: str) -> None:
        """The gateway is asked its first question, besides those that come anyway, and has answered it."""
        self.cold.add(url)
        with httpx2.Client(base_url=url, trust_env=False, timeout=60) as client:
            self.ask([client], self.truth.question(1))
        self.cold.remove(url)

    def first_answer(
        self, clients: Sequence[httpx2.Client], send: Callable[[httpx2.Client], httpx2.Response]
    ) -> tuple[httpx2.Response | None, float]:
        """The answer of the first gateway that is there, and when that one was asked; None where there is none."""
        asked = time.monotonic()
        for client in clients:
            asked = time.monotonic()
            try:
                return send(client), asked
            except httpx2.TransportError:
                self.tally.count("moved on")
        return None, asked

    @contextmanager
    def under_load(self, *, queries_per_second: float, writes_per_second: float) -> Iterator[None]:
        """Inside, questions are asked and documents are written, at both gateways by turns."""
        ticks, every = itertools.count(), THREADS / queries_per_second
        with ThreadPoolExecutor(THREADS + 1) as pool:
            at_work = [pool.submit(self._keep_asking, ticks, every=every) for _ in range(THREADS)]
            at_work.append(pool.submit(self._keep_writing, 1 / writes_per_second))
            try:
                yield
            finally:
                self.stop.set()
        for one in at_work:
            one.result()

    def _paced(self, ticks: Iterator[int], *, every: float) -> Iterator[int]:
        """A number every so many seconds until it is told to stop; what a pause has cost is not made up for."""
        due = time.monotonic()
        for number in ticks:
            due = max(due + every, now := time.monotonic())
            if self.stop.wait(due - now):
                return
            yield number

    def _keep_asking(self, ticks: Iterator[int], *, every: float) -> None:
        with self.clients() as clients:
            for number in self._paced(ticks, every=every):
                self.ask([clients[number % 2], clients[1 - number % 2]], self.truth.question(number))

    def _keep_writing(self, every: float) -> None:
        """Of ten writes six are new documents, three give an older one another text and one deletes one."""
        draw, there, num_texts = random.Random(0), list[str](), len(self.truth.late)
        with self.clients() as clients:
            for number in self._paced(iter(range(num_texts)), every=every):
                turn = [clients[number % 2], clients[1 - number % 2]]
                place = draw.randrange(len(there)) if there else 0
                if there and number % 10 == 9:
                    self._write(turn, there.pop(place), text=None)
                elif there and number % 10 in (2, 5, 8):
                    self._write(turn, there[place], text=number)
                else:
                    there.append(f"late{number}")
                    self._write(turn, there[-1], text=number)
        if not self.stop.is_set():
            self.tally.wrong("failed", f"after {num_texts} writes there are no texts left")

    def _write(self, clients: Sequence[httpx2.Client], id: str, *, text: int | None) -> None:
        """The late document has that text, or is gone, once a gateway has said 200; a dead one's is sent again."""

        def send(client: httpx2.Client) -> httpx2.Response:
            self.truth.send(id, text)
            if text is None:
                return client.delete(f"{PATH}/documents", params={"id": id})
            body = {"documents": [{"id": id, "text": self.truth.late[text]}]}
            return client.post(f"{PATH}/documents", json=body)

        answer, _ = self.first_answer(clients, send)
        if answer is None or answer.status_code != 200:
            self.tally.wrong("failed", f"{id} was not written: {'no answer' if answer is None else answer.text}")
            return
        self.truth.registers[id].acknowledge()
        self.tally.count("writes")

    def look(self, clients: Sequence[httpx2.Client], draw: random.Random) -> None:
        """Late documents as they are now, new and old ones, are found by each gateway and deleted ones are not."""
        known = list(self.truth.registers)
        chosen = [*known[-_OLD_AND_NEW:], *draw.sample(known, min(_OLD_AND_NEW, len(known)))]
        gone = [id for id in known if self.truth.registers[id].newest()[0] is None]
        chosen += draw.sample(gone, min(2, len(gone)))
        for place, id in enumerate(dict.fromkeys(chosen)):
            for client in clients:
                self._look_for(client, id, by_vector=place % 2 == 1)

    def _look_for(self, client: httpx2.Client, id: str, *, by_vector: bool) -> None:
        """The gateway tells of the document what was written last; of the answers that do not, none is too late."""
        register = self.truth.registers[id]
        while True:
            number, acknowledged = newest = register.newest()
            about = self.truth.last_text[id]
            model = self.truth.model_of[self.truth.version.newest()[0]] if by_vector else None
            said, asked = self.ask([client], self.truth.question_about(about, model=model))
            if said is None or acknowledged == inf or register.newest() != newest:
                return  # it failed, or the writer is just at it
            found = {hit["id"]: hit["text"] for hit in said["hits"]}.get(id)
            if found == (None if number is None else self.truth.late[number]):
                self.tally.count("deleted" if number is None else "late")
                return
            with self.tally.lock:
                self.tally.latest = max(self.tally.latest, asked - acknowledged)
            if asked - acknowledged > LIMIT_SECONDS:
                self.tally.wrong("missing" if number is not None else "stale", f"{id} is {found!r} and not {number}")
                return
