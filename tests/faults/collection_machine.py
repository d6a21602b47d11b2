"""A collection is a plain dict, whatever is written, moved, compacted and cut off: a state machine over real parts.

What is promised: a write that was answered with 200 can be found from then on, on every gateway and after every move;
each hit is a document as it is now, with the score that the model which the answer names gives it; `pending` counts
what is missing, and a warning the vectors of clients that came while another model answered.
`python -m tests.faults.collection_machine --examples 1000` looks longer than the tests do.
"""

import argparse
import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from service.foreign_vectors import foreign_warnings
from tests.faults.collection_world import (
    MODELS,
    NAME,
    QUERIES,
    TEXTS,
    AtWork,
    GatewayProcess,
    Ground,
    Home,
    Vector,
    cut_at,
)

BULK = 257
"""Texts of a call, one more than are embedded before it is answered."""
GATEWAYS = st.integers(0, 1)
IDS = st.integers(0, 7).map(lambda number: f"d{number}")
LANGS = st.sampled_from(["en", "de"])
CUTS = st.none() | st.none() | st.integers(1, 4)
"""At which durable call of a request it is cut off: a few transactions, each counted before and after its commit."""
JOB_CUTS = st.none() | st.none() | st.integers(1, 40)
UNITS = np.eye(5, 32, dtype=np.float32)
"""Vectors of clients; of length 1 to the last bit, so that they are stored as they are sent."""
_NEAR = 1e-4  # float32, padded differently in each batch


@dataclass(frozen=True, kw_only=True)
class Written:
    """A document as the last write left it."""

    text: str | None
    lang: str
    brought: int | None = None
    """Which of `UNITS` the client gave for it."""

    @property
    def metadata(self) -> dict[str, Any]:
        return {"lang": self.lang}

    @property
    def stored(self) -> tuple[str | None, dict[str, Any], bytes | None]:
        return self.text, self.metadata, None if self.brought is None else UNITS[self.brought].astype("<f4").tobytes()

    def body(self, id: str) -> dict[str, Any]:
        vector = None if self.brought is None else UNITS[self.brought].tolist()
        return {"id": id, "text": self.text, "metadata": self.metadata, "vector": vector}

    def vector(self, ground: Ground, model: str) -> Vector:
        if self.brought is not None:
            return UNITS[self.brought]
        assert self.text is not None
        return ground.of_texts[model][self.text]


WRITTEN = st.builds(
    Written, text=st.sampled_from(TEXTS), lang=LANGS, brought=st.none() | st.none() | st.integers(0, len(UNITS) - 1)
)


class AgainstADictionary(RuleBasedStateMachine):
    """Two gateways and a worker on one database."""

    ground: ClassVar[Ground]

    @initialize(model=st.sampled_from(MODELS))
    def begin(self, model: str) -> None:
        self.home = Home(ground=self.ground, folder=Path(tempfile.mkdtemp(dir=self.ground.folder)))
        self.gateways = [GatewayProcess(self.home) for _ in range(2)]
        self.documents: dict[str, Written] = {}
        self.must: set[str] = set()
        """What has to be found by the version that answers; of other documents it may be that they are pending."""
        self.came_for: dict[str, str | None] = {}
        """By which model the collection answered when a document was written, by its id."""
        self.at_work: list[tuple[AtWork, dict[str, Written]]] = []
        """Jobs whose index is made, and the documents that it was made of."""
        made = self.gateways[0].ask("POST", "", {"name": NAME, "model": model})
        assert made.status_code == 201, made.text

    def teardown(self) -> None:
        if not hasattr(self, "home"):
            return
        for gateway in self.gateways:
            gateway.close()
        self.home.close()

    # What clients write.

    @rule(at=GATEWAYS, written=st.dictionaries(IDS, WRITTEN, min_size=1, max_size=4), cut=CUTS)
    def upsert(self, at: int, written: dict[str, Written], cut: int | None) -> None:
        body = {"documents": [one.body(id) for id, one in written.items()]}
        answer = self.write(at, ("POST", f"/{NAME}/documents", body), after=self.documents | written, cut=cut)
        if answer is not None:
            assert (answer["accepted"], answer["job"]) == (len(written), None)
        if all(self.documents.get(id) is one for id, one in written.items()):
            self.must |= set(written)

    @rule(at=GATEWAYS, shift=st.integers(0, 3), lang=LANGS)
    def upsert_many(self, at: int, shift: int, lang: str) -> None:
        texts = {f"d{n}": TEXTS[(n + shift) % len(TEXTS)] for n in range(BULK)}
        written = {id: Written(text=text, lang=lang) for id, text in texts.items()}
        body = {"documents": [one.body(id) for id, one in written.items()]}
        answer = self.write(at, ("POST", f"/{NAME}/documents", body), after=self.documents | written)
        assert answer is not None and answer["job"] is not None and answer["pending"] >= BULK
        self.must -= set(written)

    @rule(at=GATEWAYS, ids=st.lists(IDS, min_size=1, max_size=3), cut=CUTS)
    def delete(self, at: int, ids: list[str], cut: int | None) -> None:
        after = {id: one for id, one in self.documents.items() if id not in ids}
        self.write(at, ("POST", f"/{NAME}/documents/delete", {"ids": ids}), after=after, cut=cut)

    @rule(at=GATEWAYS, lang=LANGS, cut=CUTS)
    def delete_by_filter(self, at: int, lang: str, cut: int | None) -> None:
        after = {id: one for id, one in self.documents.items() if one.lang != lang}
        self.write(at, ("POST", f"/{NAME}/documents/delete", {"filter": equal(lang)}), after=after, cut=cut)

    def write(
        self, at: int, asked: tuple[str, str, object], *, after: Mapping[str, Written], cut: int | None = None
    ) -> dict[str, Any] | None:
        """The answer; None where it was cut off: then either all of it or nothing has happened."""
        before, collection = self.documents, self.home.collection()
        answer = self.request(at, asked, cut=cut)
        stored, whole = self.home.stored(), {id: one.stored for id, one in after.items()}
        if answer is not None or stored == whole:
            assert stored == whole
            self.documents = dict(after)
        else:
            assert stored == {id: one.stored for id, one in before.items()}
        if self.home.collection().watermark > collection.watermark:
            self.came_for |= dict.fromkeys(asked_to_write(before, after), collection.model)
        self.must &= self.documents.keys()
        return answer

    def request(self, at: int, asked: tuple[str, str, object], *, cut: int | None) -> dict[str, Any] | None:
        """The answer of a request that succeeds; None where it was cut off, and the gateway opened anew."""
        with cut_at(cut) as was_cut:
            answer = self.gateways[at].ask(*asked)
        if was_cut():
            self.reopen(at)
            return None
        assert answer.status_code in (200, 202), answer.text
        body: dict[str, Any] = answer.json()
        return body

    # What the index does.

    @rule()
    def compact(self) -> None:
        self.home.compact()

    @precondition(lambda self: self.home.waiting() and len(self.at_work) < 2)
    @rule(cut=JOB_CUTS)
    def begin_a_job(self, cut: int | None) -> None:
        documents, begun = dict(self.documents), None
        with cut_at(cut) as was_cut:
            begun = self.home.begin()
        if was_cut():
            self.home.put_back([work for work, _ in self.at_work])
        elif begun is not None:
            self.at_work.append((begun, documents))

    @precondition(lambda self: self.at_work)
    @rule(which=st.integers(0, 1), cut=JOB_CUTS)
    def finish_a_job(self, which: int, cut: int | None) -> None:
        work, documents = self.at_work.pop(which % len(self.at_work))
        with cut_at(cut) as was_cut:
            self.home.finish(work)
        if was_cut():
            self.home.put_back([other for other, _ in self.at_work])
        elif work.job.spec.get("version") in (None, self.home.collection().active_version):
            self.must |= {id for id, one in documents.items() if self.documents.get(id) is one}

    @precondition(lambda self: self.home.waiting() and len(self.at_work) < 2)
    @rule()
    def work(self) -> None:
        self.begin_a_job(None)
        if self.at_work:
            self.finish_a_job(len(self.at_work) - 1, None)

    @rule()
    def remove_unused(self) -> None:
        self.home.remove_unused()

    @rule(at=GATEWAYS)
    def reopen(self, at: int) -> None:
        self.gateways[at].close()
        self.gateways[at] = GatewayProcess(self.home)

    # Versions.

    @rule(at=GATEWAYS, model=st.sampled_from(MODELS), cut=CUTS)
    def order_a_version(self, at: int, model: str, cut: int | None) -> None:
        if len(self.versions()) < 4:
            self.request(at, ("POST", f"/{NAME}/versions", {"model": model}), cut=cut)

    @rule(at=GATEWAYS, which=st.integers(0, 3), cut=CUTS)
    def promote(self, at: int, which: int, cut: int | None) -> None:
        ready = [one for one in self.versions() if one["status"] == "ready" and not one["active"]]
        if ready:
            version = ready[which % len(ready)]["id"]
            self.move(at, ("POST", f"/{NAME}/promote", {"version": version}), to=version, cut=cut)

    @rule(at=GATEWAYS, cut=CUTS)
    def roll_back(self, at: int, cut: int | None) -> None:
        previous = self.home.collection().previous_version
        if previous is not None:
            self.move(at, ("POST", f"/{NAME}/rollback", {}), to=previous, cut=cut)

    @rule(at=GATEWAYS, which=st.integers(0, 3), cut=CUTS)
    def delete_a_version(self, at: int, which: int, cut: int | None) -> None:
        idle = [one for one in self.versions() if not one["active"]]
        if idle:
            self.request(at, ("DELETE", f"/{NAME}/versions/{idle[which % len(idle)]['id']}", None), cut=cut)

    def move(self, at: int, asked: tuple[str, str, object], *, to: str, cut: int | None) -> None:
        """The collection answers by that version and lacks nothing; or, of a request that was cut off, as before."""
        before = self.home.collection()
        with cut_at(cut) as was_cut:
            answer = self.gateways[at].ask(*asked)
        if was_cut():
            self.reopen(at)
        after = self.home.collection()
        if after.active_version == to != before.active_version:
            had_none = before.active_version is None
            if had_none and after.model != before.model:  # what it answered by is a version now
                [first] = [one for one in self.versions() if one["id"] == after.previous_version]
                assert (first["model"], first["job"]) == (before.model, None)
            else:
                assert after.previous_version == before.active_version
            self.must = set(self.documents)
            return
        assert (after.active_version, after.previous_version) == (before.active_version, before.previous_version)
        assert was_cut() or self.lacks_many(answer), answer.text

    def lacks_many(self, answer: Any) -> bool:
        """Whether it was refused as a version that a job has to take documents into first."""
        said = "lacks more than 256 documents" in answer.text
        return answer.status_code == 409 and said and sum(one.brought is None for one in self.documents.values()) > 256

    def versions(self) -> list[dict[str, Any]]:
        """As the first gateway lists them."""
        answer = self.gateways[0].ask("GET", f"/{NAME}/versions")
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["data"]
        return found

    # What clients find.

    @rule(at=GATEWAYS, query=st.integers(0, len(QUERIES) - 1), k=st.integers(1, 12), lang=st.none() | LANGS)
    def query(self, at: int, query: int, k: int, lang: str | None) -> None:
        self.asked(self.gateways[at], query, k=k, lang=lang)

    @rule(query=st.integers(0, len(QUERIES) - 1))
    def everybody_agrees(self, query: int) -> None:
        late = GatewayProcess(self.home)
        try:
            answers = [self.asked(gateway, query, k=5) for gateway in (*self.gateways, late)]
        finally:
            late.close()
        assert answers[0] == answers[1] == answers[2]

    def asked(
        self, gateway: GatewayProcess, query: int, *, k: int, lang: str | None = None
    ) -> tuple[str | None, set[str]]:
        """The version that answered and the ids of all that it finds, after what was found proved to be right."""
        everything: dict[str, Any] = {"query": QUERIES[query], "k": 1_000}
        narrow = everything | {"k": k} | ({} if lang is None else {"filter": equal(lang)})
        by_vector = {"k": k, "vector": UNITS[0].tolist()}
        answer = gateway.ask("POST", f"/{NAME}/query", {"queries": [everything, narrow, by_vector]})
        assert answer.status_code == 200, answer.text
        body, collection = answer.json(), self.home.collection()
        assert (body["version"], body["model"]) == (collection.active_version, collection.model)
        asked_by = [self.ground.of_queries[body["model"]][query], UNITS[0]]
        scores = [self.scores(body["model"], vector) for vector in asked_by]
        found, narrowed, near = (one["hits"] for one in body["results"])
        ids = self.right(found, scores[0])
        assert self.must <= ids, f"{sorted(self.must - ids)} cannot be found"
        assert len(ids) + body["pending"] == len(self.documents)
        brought = [id for id, one in self.documents.items() if one.brought is not None]
        foreign = sum(self.came_for[id] != body["model"] for id in brought)
        assert body["results"][0]["warnings"] == foreign_warnings(foreign, model=body["model"])
        told = gateway.ask("GET", f"/{NAME}").json()
        assert (told["brought"], told["warnings"]) == (len(brought), body["results"][0]["warnings"])
        passing = {id for id in ids if lang in (None, self.documents[id].lang)}
        self.best(narrowed, {id: scores[0][id] for id in passing}, k=k)
        self.best(near, {id: scores[1][id] for id in ids}, k=k)
        return body["version"], ids

    @rule(at=GATEWAYS, query=st.integers(0, len(QUERIES) - 1), a=st.integers(0, 3), b=st.integers(0, 3))
    def compare(self, at: int, query: int, a: int, b: int) -> None:
        ready = [one for one in self.versions() if one["status"] == "ready"]
        if ready:
            two = {"a": ready[a % len(ready)], "b": ready[b % len(ready)]}
            body = {"queries": [QUERIES[query]], "k": 100} | {side: one["id"] for side, one in two.items()}
            answer = self.gateways[at].ask("POST", f"/{NAME}/compare", body)
            assert answer.status_code == 200, answer.text
            for side, one in two.items():
                vector = self.ground.of_queries[one["model"]][query]
                self.right(answer.json()["results"][0][side], self.scores(one["model"], vector))

    def scores(self, model: str, query: Vector) -> dict[str, float]:
        """Of every document by brute force."""
        return {id: float(one.vector(self.ground, model) @ query) for id, one in self.documents.items()}

    def right(self, hits: Sequence[Mapping[str, Any]], scores: Mapping[str, float]) -> set[str]:
        """The ids of the hits, each of which is a document as it is now, once, by its score."""
        ids = [hit["id"] for hit in hits]
        assert len(ids) == len(set(ids)) and set(ids) <= self.documents.keys()
        for hit in hits:
            one = self.documents[hit["id"]]
            assert (hit["text"], hit["metadata"]) == (one.text, one.metadata), hit
            assert abs(hit["score"] - scores[hit["id"]]) < _NEAR, (hit, scores[hit["id"]])
        assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)
        return set(ids)

    def best(self, hits: Sequence[Mapping[str, Any]], scores: Mapping[str, float], *, k: int) -> None:
        """They are the best of these documents."""
        assert {hit["id"] for hit in hits} <= scores.keys()
        self.right(hits, scores)
        expected = sorted(scores.values(), reverse=True)[:k]
        np.testing.assert_allclose([hit["score"] for hit in hits], expected, atol=_NEAR)

    @invariant()
    def the_rows_are_the_dictionary(self) -> None:
        if hasattr(self, "home"):
            assert self.home.stored() == {id: one.stored for id, one in self.documents.items()}


def asked_to_write(before: Mapping[str, Written], after: Mapping[str, Written]) -> list[str]:
    """The ids of documents that a call has written, as they were or otherwise."""
    return [id for id, one in after.items() if before.get(id) is not one]


def equal(lang: str) -> dict[str, Any]:
    """A filter."""
    return {"type": "eq", "key": "lang", "value": lang}


def look(ground: Ground, *, num_examples: int, num_steps: int) -> None:
    """So many stories are told; raises with the shortest one that ends wrong."""
    AgainstADictionary.ground = ground
    slow = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
    how = settings(max_examples=num_examples, stateful_step_count=num_steps, deadline=None, suppress_health_check=slow)
    run_state_machine_as_test(AgainstADictionary, settings=how)


def main() -> None:
    """Looks for a story that ends wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=1_000)
    parser.add_argument("--steps", type=int, default=40)
    asked = parser.parse_args()
    logging.disable()  # each cut is an error of the gateway's
    with tempfile.TemporaryDirectory(prefix="collection-machine-") as folder:
        look(Ground.lay(Path(folder)), num_examples=asked.examples, num_steps=asked.steps)
    print(f"{asked.examples} stories of up to {asked.steps} steps ended well")


if __name__ == "__main__":
    main()
