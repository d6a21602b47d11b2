"""Clients of a collection that is to be a plain dict: what they write by either gateway, and what they have to find."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from service.foreign_vectors import foreign_warnings
from tests.faults.collection_documents import (
    BULK,
    IDS,
    LANGS,
    UNITS,
    WRITTEN,
    Written,
    check_best,
    check_hits,
    equal,
    many,
    scores_of,
    shares_a_word,
)
from tests.faults.collection_world import NAME, QUERIES, GatewayProcess, Ground, Home, cut_at

GATEWAYS = st.integers(0, 1)
THEN = st.none() | GATEWAYS
"""Which gateway is asked after a step, if one is: what is seen late is seen together with what came after it."""
CUTS = st.none() | st.none() | st.integers(1, 4)
"""At which durable call of a request it is cut off: a few transactions, each counted before and after its commit."""


class Clients(RuleBasedStateMachine):
    """Two gateways on one database, and what was written."""

    ground: ClassVar[Ground]
    done: ClassVar[Counter[str]] = Counter()
    """How often something has really happened, over all stories."""
    home: Home
    gateways: list[GatewayProcess]
    documents: dict[str, Written]
    must: set[str]
    """What has to be found by the version that answers; of other documents it may be that they are pending."""
    came_for: dict[str, str | None]
    """By which model the collection answered when a document was written, by its id."""

    # What clients write.

    @rule(at=GATEWAYS, written=st.dictionaries(IDS, WRITTEN, min_size=1, max_size=4), cut=CUTS, then=THEN)
    def upsert(self, at: int, written: dict[str, Written], cut: int | None, then: int | None) -> None:
        body = {"documents": [one.body(id) for id, one in written.items()]}
        self.write_few(at, written, body=body, cut=cut)
        self.look(then)

    @rule(
        at=GATEWAYS,
        lines=st.lists(st.tuples(IDS, WRITTEN), min_size=1, max_size=5),
        before=st.none() | st.none() | LANGS,
        cut=CUTS,
        then=THEN,
    )
    def upsert_lines(
        self, at: int, lines: list[tuple[str, Written]], before: str | None, cut: int | None, then: int | None
    ) -> None:
        """Of equal ids the last line counts; `before` are many lines that bring their vectors."""
        first = {} if before is None else many(0, lang=before, brought=0)
        rows = [json.dumps(one.body(id)) for id, one in [*first.items(), *lines]]
        self.write_few(at, {**first, **dict(lines)}, body="\n".join(rows), cut=cut)
        self.done["lines"] += cut is None
        self.look(then)

    def write_few(self, at: int, written: dict[str, Written], *, body: object, cut: int | None) -> None:
        """They can be found at once, if they are stored."""
        before = self.documents
        answer = self.write(at, ("POST", f"/{NAME}/documents", body), after=before | written, cut=cut)
        if answer is not None:
            assert (answer["accepted"], answer["job"]) == (len(written), None)
        if all(self.documents.get(id) is one for id, one in written.items()):
            self.must |= set(written)
            self.done["new"] += bool(written.keys() - before.keys())
            self.done["replaced"] += bool(written.keys() & before.keys())
            self.done["own vector"] += any(one.brought is not None for one in written.values())

    @rule(at=GATEWAYS, shift=st.integers(0, 3), lang=LANGS, then=THEN)
    def upsert_many(self, at: int, shift: int, lang: str, then: int | None) -> None:
        written = many(shift, lang=lang)
        body = {"documents": [one.body(id) for id, one in written.items()]}
        answer = self.write(at, ("POST", f"/{NAME}/documents", body), after=self.documents | written, cut=None)
        assert answer is not None and answer["job"] is not None and answer["pending"] >= BULK
        self.must -= set(written)
        self.done["many"] += 1
        self.look(then)

    @precondition(lambda self: self.documents)
    @rule(at=GATEWAYS, ids=st.lists(IDS, min_size=1, max_size=3), cut=CUTS, then=THEN)
    def delete(self, at: int, ids: list[str], cut: int | None, then: int | None) -> None:
        after = {id: one for id, one in self.documents.items() if id not in ids}
        self.done["deleted by id"] += len(after) < len(self.documents)
        self.write(at, ("POST", f"/{NAME}/documents/delete", {"ids": ids}), after=after, cut=cut)
        self.look(then)

    @precondition(lambda self: self.documents)
    @rule(at=GATEWAYS, lang=LANGS, cut=CUTS, then=THEN)
    def delete_by_filter(self, at: int, lang: str, cut: int | None, then: int | None) -> None:
        after = {id: one for id, one in self.documents.items() if one.lang != lang}
        self.done["deleted by filter"] += len(after) < len(self.documents)
        self.write(at, ("POST", f"/{NAME}/documents/delete", {"filter": equal(lang)}), after=after, cut=cut)
        self.look(then)

    def write(
        self, at: int, asked: tuple[str, str, object], *, after: Mapping[str, Written], cut: int | None
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
            written = [id for id, one in after.items() if before.get(id) is not one]
            self.came_for |= dict.fromkeys(written, collection.model)
        self.must &= self.documents.keys()
        return answer

    def request(self, at: int, asked: tuple[str, str, object], *, cut: int | None) -> dict[str, Any] | None:
        """The answer of a request that succeeds; None where it was cut off, and the gateway opened anew."""
        with cut_at(cut) as was_cut:
            answer = self.gateways[at].ask(*asked)
        if was_cut():
            self.done["gateway cut off"] += 1
            self.reopen(at)
            return None
        assert answer.status_code in (200, 202), answer.text
        body: dict[str, Any] = answer.json()
        return body

    def reopen(self, at: int) -> None:
        """The gateway is another process."""
        self.gateways[at].close()
        self.gateways[at] = GatewayProcess(self.home)

    # What clients find.

    @rule(at=GATEWAYS, query=st.integers(0, len(QUERIES) - 1), k=st.integers(1, 12), lang=st.none() | LANGS, about=IDS)
    def query(self, at: int, query: int, k: int, lang: str | None, about: str) -> None:
        self.asked(self.gateways[at], query, k=k, lang=lang, about=about)

    @rule(query=st.integers(0, len(QUERIES) - 1), at=GATEWAYS)
    def everybody_agrees(self, query: int, at: int) -> None:
        """A gateway that has just begun finds the same, and takes the place of another one."""
        answers = [self.asked(gateway, query, k=5) for gateway in self.gateways]
        self.reopen(at)
        answers.append(self.asked(self.gateways[at], query, k=5))
        assert answers[0] == answers[1] == answers[2]

    def look(self, at: int | None) -> None:
        """That gateway is asked, if one is."""
        if at is not None:
            self.asked(self.gateways[at], 0, k=3)

    def asked(
        self, gateway: GatewayProcess, query: int, *, k: int, lang: str | None = None, about: str = "d0"
    ) -> tuple[str | None, set[str]]:
        """The version that answered and the ids of all that it finds, after what was found proved to be right."""
        narrow = {"k": k} | ({} if lang is None else {"filter": equal(lang)})
        asked = {
            "all": {"query": QUERIES[query], "k": 1_000},
            "filtered": {"query": QUERIES[query], **narrow},
            "by vector": {"vector": UNITS[0].tolist(), **narrow},
        }
        if about in self.must:
            asked["by id"] = {"id": about, **narrow}
        if any(self.documents[id].text for id in self.must):  # without any text there are no words to look by
            asked["hybrid"] = {"query": QUERIES[query], **narrow, "k": 1_000, "hybrid": {"weight": 0.0}}
        answer = gateway.ask("POST", f"/{NAME}/query", {"queries": list(asked.values())})
        assert answer.status_code == 200, answer.text
        body, collection = answer.json(), self.home.collection()
        assert (body["version"], body["model"]) == (collection.active_version, collection.model)
        hits = {name: one["hits"] for name, one in zip(asked, body["results"], strict=True)}
        ids = self.right(hits.pop("all"), body["model"], query=query)
        assert self.must <= ids, f"{sorted(self.must - ids)} cannot be found"
        assert len(ids) + body["pending"] == len(self.documents)
        self.warned(gateway, body["results"][0]["warnings"], model=body["model"])
        passing = {id: self.documents[id] for id in ids if lang in (None, self.documents[id].lang)}
        counted = gateway.ask("POST", f"/{NAME}/count", {} if lang is None else {"filter": equal(lang)})
        assert counted.json()["count"] == len(passing), "what is gone takes the place of hits"
        self.done["filtered"] += 0 < len(passing) < len(ids)
        if "hybrid" in hits:
            self.by_words(hits.pop("hybrid"), passing, query=query)
        vectors = {"filtered": self.ground.of_queries[body["model"]][query], "by vector": UNITS[0]}
        if "by id" in hits:
            vectors["by id"] = self.documents[about].vector(self.ground, body["model"])
        for name, found in hits.items():
            others = {id: one for id, one in passing.items() if (name, id) != ("by id", about)}
            scores = scores_of(others, vectors[name], ground=self.ground, model=body["model"])
            check_hits(found, others, scores=scores)
            check_best(found, scores, k=k)
            self.done[name] += bool(found)
        return body["version"], ids

    def warned(self, gateway: GatewayProcess, warnings: list[str], *, model: str) -> None:
        """Of vectors that clients brought while another model answered, and of no other, by whoever is asked."""
        brought = [id for id, one in self.documents.items() if one.brought is not None]
        foreign = sum(self.came_for[id] != model for id in brought)
        told = gateway.ask("GET", f"/{NAME}").json()
        assert warnings == told["warnings"] == foreign_warnings(foreign, model=model)
        assert told["brought"] == len(brought)
        self.done["warned"] += foreign > 0

    def right(self, hits: list[dict[str, Any]], model: str, *, query: int) -> set[str]:
        """The ids of these hits of a text query, which are right by that model."""
        vector = self.ground.of_queries[model][query]
        return check_hits(
            hits, self.documents, scores=scores_of(self.documents, vector, ground=self.ground, model=model)
        )

    def by_words(self, hits: list[dict[str, Any]], documents: Mapping[str, Written], *, query: int) -> None:
        """Those of the documents score that share a word with the query."""
        assert check_hits(hits, documents) == documents.keys()
        sharing = {id for id, one in documents.items() if shares_a_word(one, QUERIES[query])}
        assert {hit["id"] for hit in hits if hit["score"] > 0} == sharing
        self.done["hybrid"] += 0 < len(sharing) < len(documents)
