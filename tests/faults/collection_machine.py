"""A collection is a plain dict, whatever is written, moved, compacted and cut off: a state machine over real parts.

What is promised: a write that was answered with 200 can be found from then on, on every gateway and after every move;
each hit is a document as it is now, with the score that the model which the answer names gives it; `pending` counts
what is missing, and a warning the vectors of clients that came while another model answered.
`python -m tests.faults.collection_machine --examples 1000` looks longer than the tests do.
"""

import argparse
import logging
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from service.store.collection_records import VersionStatus
from tests.faults.collection_clients import CUTS, GATEWAYS, THEN, Clients
from tests.faults.collection_documents import IDS, WRITTEN, Written
from tests.faults.collection_world import MODELS, NAME, QUERIES, AtWork, GatewayProcess, Ground, Home, cut_at

JOB_CUTS = st.none() | st.integers(1, 20)
MOST_VERSIONS = 4


class AgainstADictionary(Clients):
    """With a worker, whose jobs end or are cut off, and versions that the collection moves between."""

    @initialize(
        model=st.sampled_from(MODELS), written=st.dictionaries(IDS, WRITTEN), num_versions=st.sampled_from([2, 1, 2, 0])
    )
    def begin(self, model: str, written: dict[str, Written], num_versions: int) -> None:
        self.home = Home(ground=self.ground, folder=Path(tempfile.mkdtemp(dir=self.ground.folder)))
        self.gateways = [GatewayProcess(self.home) for _ in range(2)]
        self.documents, self.must, self.came_for = {}, set(), {}
        self.at_work: list[tuple[AtWork, dict[str, Written]]] = []
        """Jobs whose index is made, and the documents that it was made of."""
        self.reached: dict[str, int] = {}
        """By version, up to which write its index has everything."""
        made = self.gateways[0].ask("POST", "", {"name": NAME, "model": model})
        assert made.status_code == 201, made.text
        if written:
            self.upsert(0, written, cut=None, then=None)
        for number in range(num_versions):
            self.read()
            if number:
                self.order_a_version(0, next(other for other in MODELS if other != model), cut=None)
            self.compact(None, None)

    def teardown(self) -> None:
        if not hasattr(self, "home"):
            return
        for gateway in self.gateways:
            gateway.close()
        self.home.close()

    # What the index does.

    @precondition(lambda self: not self.waiting)
    @rule()
    def order_an_index(self) -> None:
        self.home.compact()

    @precondition(lambda self: self.waiting and len(self.at_work) < 2)
    @rule(cut=JOB_CUTS, then=THEN)
    def begin_a_job(self, cut: int | None, then: int | None) -> None:
        with cut_at(cut) as was_cut:
            self.begun()
        if was_cut():
            self.done["worker cut off"] += 1
            self.home.put_back([work for work, _ in self.at_work])
        self.look(then)

    def begun(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        """A job has made its index; what it embedded by the model that answers can be found from then on.

        `meanwhile` happens after it has read the documents and before its first vectors are told.
        """
        documents = dict(self.documents)
        if (work := self.home.begin(meanwhile)) is None:
            return
        self.at_work.append((work, documents))
        if work.model == self.home.collection().model:
            self.must |= {id for id, one in documents.items() if self.documents.get(id) is one}

    @rule(shift=st.integers(0, 3), more=st.integers(1, 3), at=GATEWAYS)
    def rewrite_many_while_they_are_embedded(self, shift: int, more: int, at: int) -> None:
        self.settle()
        self.upsert_many(at, shift, lang="en", then=None)
        self.begun(lambda: self.upsert_many(1 - at, shift + more, lang="de", then=None))
        self.look(at)

    @precondition(lambda self: self.at_work)
    @rule(which=st.integers(0, 1), cut=JOB_CUTS, then=THEN)
    def finish_a_job(self, which: int, cut: int | None, then: int | None) -> None:
        """Its index answers, or is beside the one that does; what nothing needs any more is removed."""
        work, documents = self.at_work.pop(which % len(self.at_work))
        before = self.home.collection()
        with cut_at(cut) as was_cut:
            self.home.finish(work)
        if was_cut():
            self.done["worker cut off"] += 1
            self.home.put_back([other for other, _ in self.at_work])
        elif work.job.spec.get("version") in (None, self.home.collection().active_version):
            self.must |= {id for id, one in documents.items() if self.documents.get(id) is one}
            self.done["compacted"] += before.active_version is not None
        self.home.remove_unused()
        self.look(then)

    @precondition(lambda self: len(self.at_work) < 2)
    @rule(cut=JOB_CUTS, then=THEN)
    def compact(self, cut: int | None, then: int | None) -> None:
        """A job is done at once: one that waits, or one that makes the index which answers anew; or it is cut off."""
        if not self.home.waiting():
            self.home.compact()
        num = len(self.at_work)
        self.begin_a_job(cut, None)
        if len(self.at_work) > num:
            self.finish_a_job(num, None, None)
        self.look(then)

    def settle(self) -> None:
        """No job waits or runs."""
        while self.at_work:
            self.finish_a_job(0, None, None)
        while self.home.waiting():
            self.compact(None, None)
        self.read()

    # Versions.

    @precondition(lambda self: len(self.versions) < MOST_VERSIONS)
    @rule(at=GATEWAYS, model=st.sampled_from(MODELS), cut=CUTS)
    def order_a_version(self, at: int, model: str, cut: int | None) -> None:
        self.request(at, ("POST", f"/{NAME}/versions", {"model": model}), cut=cut)

    @precondition(lambda self: self.ready)
    @rule(at=GATEWAYS, which=st.integers(0, MOST_VERSIONS - 1), cut=CUTS, then=THEN)
    def promote(self, at: int, which: int, cut: int | None, then: int | None) -> None:
        version = self.ready[which % len(self.ready)]
        self.move(at, ("POST", f"/{NAME}/promote", {"version": version}), to=version, cut=cut)
        self.look(then)

    @precondition(lambda self: self.collection.previous_version)
    @rule(at=GATEWAYS, cut=CUTS, then=THEN)
    def roll_back(self, at: int, cut: int | None, then: int | None) -> None:
        previous = str(self.collection.previous_version)
        self.move(at, ("POST", f"/{NAME}/rollback", {}), to=previous, cut=cut)
        self.look(then)

    @precondition(lambda self: self.ready)
    @rule(which=st.integers(0, MOST_VERSIONS - 1), written=st.dictionaries(IDS, WRITTEN, min_size=1, max_size=2))
    def promote_write_and_roll_back(self, which: int, written: dict[str, Written]) -> None:
        """By one gateway after the other; what was written to the one is found by the other after each move."""
        before = self.collection.active_version
        self.promote(0, which, cut=None, then=1)
        self.upsert(1, written, cut=None, then=0)
        self.read()
        if before is not None and self.collection.previous_version == before:
            self.roll_back(1, cut=None, then=0)

    @precondition(lambda self: self.documents and len(self.versions) < MOST_VERSIONS)
    @rule(
        model=st.none() | st.sampled_from(MODELS),
        written=st.dictionaries(IDS, WRITTEN, min_size=1, max_size=2),
        ids=st.lists(IDS, min_size=1, max_size=3),
        is_overtaken=st.booleans(),
        is_alone=st.booleans(),
    )
    def write_while_an_index_is_made(
        self, model: str | None, written: dict[str, Written], ids: list[str], is_overtaken: bool, is_alone: bool
    ) -> None:
        """Of the version that answers, or of another one that is promoted then; other versions may hold changes.

        A job that begins later may end before.
        """
        self.settle()
        for version in self.ready if is_alone else ():
            self.request(0, ("DELETE", f"/{NAME}/versions/{version}", None), cut=None)
        if model is None:
            self.home.compact()
        else:
            self.order_a_version(0, model, cut=None)
        self.begun()
        self.delete(0, ids, cut=None, then=None)
        self.upsert(0, written, cut=None, then=None)
        if is_overtaken:
            self.compact(None, None)
        self.finish_a_job(0, None, None)
        self.read()
        if model is not None and self.ready:
            self.promote(1, 0, cut=None, then=None)
        self.look(0)

    @precondition(lambda self: len(self.versions) > MOST_VERSIONS // 2)
    @rule(at=GATEWAYS, which=st.integers(0, MOST_VERSIONS - 1), cut=CUTS)
    def delete_a_version(self, at: int, which: int, cut: int | None) -> None:
        idle = [one.id for one in self.versions if one.id != self.collection.active_version]
        self.request(at, ("DELETE", f"/{NAME}/versions/{idle[which % len(idle)]}", None), cut=cut)
        self.home.remove_unused()

    def move(self, at: int, asked: tuple[str, str, object], *, to: str, cut: int | None) -> None:
        """The collection answers by that version and lacks nothing; or, of a request that was cut off, as before."""
        before = self.home.collection()
        with cut_at(cut) as was_cut:
            answer = self.gateways[at].ask(*asked)
        if was_cut():
            self.done["gateway cut off"] += 1
            self.reopen(at)
        after = self.home.collection()
        if after.active_version == to != before.active_version:
            previous = after.previous_version
            if before.active_version is None and after.model != before.model:  # what it answered by is a version now
                [first] = [one for one in self.home.versions() if one.id == previous]
                assert (first.model, first.job_id) == (before.model, None)
            else:
                assert previous == before.active_version
            self.must = set(self.documents)
            self.done["promoted" if asked[1].endswith("promote") else "rolled back"] += 1
            self.done["moved to another model"] += after.model != before.model
            return
        assert (after.active_version, after.previous_version) == (before.active_version, before.previous_version)
        assert was_cut() or self.lacks_many(answer), answer.text

    def lacks_many(self, answer: Any) -> bool:
        """Whether it was refused as a version that a job has to take documents into first."""
        said = "lacks more than 256 documents" in answer.text
        return answer.status_code == 409 and said and sum(one.brought is None for one in self.documents.values()) > 256

    @precondition(lambda self: self.built)
    @rule(at=GATEWAYS, query=st.integers(0, len(QUERIES) - 1), a=st.integers(0, 3), b=st.integers(0, 3))
    def compare(self, at: int, query: int, a: int, b: int) -> None:
        two = {"a": self.built[a % len(self.built)], "b": self.built[b % len(self.built)]}
        body = {"queries": [QUERIES[query]], "k": 100} | {side: one.id for side, one in two.items()}
        answer = self.gateways[at].ask("POST", f"/{NAME}/compare", body)
        assert answer.status_code == 200, answer.text
        for side, one in two.items():
            assert one.model is not None
            self.right(answer.json()["results"][0][side], one.model, query=query)

    @invariant()
    def the_rows_are_the_dictionary(self) -> None:
        if hasattr(self, "home"):
            assert self.home.stored() == {id: one.stored for id, one in self.documents.items()}
            self.read()
            reached = {one.id: one.watermark for one in self.built}
            assert all(number >= self.reached.get(id, 0) for id, number in reached.items()), "an index went back"
            self.reached = reached

    def read(self) -> None:
        """What the next step can be is known."""
        self.collection, self.versions = self.home.collection(), self.home.versions()
        self.waiting = self.home.waiting()
        self.built = [one for one in self.versions if one.status is VersionStatus.READY]
        self.ready = [one.id for one in self.built if one.id != self.collection.active_version]


def look(ground: Ground, *, num_examples: int, num_steps: int, always_same: bool = False) -> Counter[str]:
    """What has happened in so many stories, new or always the same ones; raises with the shortest that ends wrong."""
    AgainstADictionary.ground = ground
    AgainstADictionary.done.clear()
    slow = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
    how = settings(
        max_examples=num_examples,
        stateful_step_count=num_steps,
        deadline=None,
        suppress_health_check=slow,
        derandomize=always_same,
    )
    run_state_machine_as_test(AgainstADictionary, settings=how)
    return AgainstADictionary.done


def main() -> None:
    """Looks for a story that ends wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=1_000)
    parser.add_argument("--steps", type=int, default=40)
    asked = parser.parse_args()
    logging.disable()  # each cut is an error of the gateway's
    with tempfile.TemporaryDirectory(prefix="collection-machine-") as folder:
        done = look(Ground.lay(Path(folder)), num_examples=asked.examples, num_steps=asked.steps)
    print(f"{asked.examples} stories of up to {asked.steps} steps ended well: {dict(done)}")


if __name__ == "__main__":
    main()
