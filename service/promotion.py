"""A collection moves to another version: what that version still lacks is embedded, then one row update moves both
model and index. Nothing that is asked meanwhile fails or meets a model with the index of another one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from infonce.config import Side
from service.embedder import Embedder
from service.errors import ServiceError
from service.live_indexes import LiveIndexes
from service.model_lookup import ModelLookup
from service.schemas.versions import Guard
from service.store import catalog, changes, evaluations, versions
from service.store.changes import Embedded
from service.store.collection_records import CollectionRecord, VersionRecord
from service.store.database import Database, Tx
from service.store.errors import Conflict
from service.version_orders import order_version

MAX_CAUGHT_UP: Final = 256
"""Texts that are embedded in the request; a version that lacks more needs a job first."""
_TRIES: Final = 10
"""Writes may come between embedding and moving; each try embeds what came."""


Made: TypeAlias = dict[tuple[str | None, str, int], bytes]
"""Vectors of what a version lacks, by fingerprint, and id and sequence number of the document."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Move:
    """How a move was asked for."""

    expected: str | None
    """The version that must answer until then; any where there is none."""
    first: Callable[[Tx], None]
    """Called in the transaction that moves the collection, before it does; it may refuse."""
    now: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Promotion:
    """What moving needs of the gateway."""

    database: Database
    indexes: LiveIndexes
    lookup: ModelLookup
    embedder: Embedder

    def promote(self, project: str, name: str, *, id: str, guard: Guard | None, move: Move) -> CollectionRecord:
        """The collection answers by the version, model and index alike.

        Raises:
            NotFound: no such collection, version or evaluation.
            ServiceError: another version answers than is expected (`precondition_failed`), the guard is not met
                (`guard_failed`), or the version is not built or lacks documents (`not_ready`).
        """
        with self.database.read() as tx:
            collection = catalog.get_collection(tx, project, name=name)
            _check_expected(collection, move.expected)
            version = versions.get(tx, collection.id, id=id)
            if guard is not None:
                _check_guard(tx, collection, version=version, guard=guard)
        return self._move(collection, version, move=move, guard=guard)

    def roll_back(self, project: str, name: str, *, move: Move) -> CollectionRecord:
        """The collection answers by the version before, and could be moved back.

        Raises:
            NotFound: no such collection.
            ServiceError: there is none before (`not_ready`); others as for `promote`.
        """
        with self.database.read() as tx:
            collection = catalog.get_collection(tx, project, name=name)
            _check_expected(collection, move.expected)
            if collection.previous_version is None:
                raise ServiceError("not_ready", f"collection {collection.name!r} has no version to return to")
            version = versions.get(tx, collection.id, id=collection.previous_version)
        return self._move(collection, version, move=move)

    def _move(
        self, collection: CollectionRecord, version: VersionRecord, *, move: Move, guard: Guard | None = None
    ) -> CollectionRecord:
        project, made = collection.project, Made()
        self.indexes.of_version(project, collection.id, id=version.id)  # read before anybody waits for it
        version = self._told(project, version)
        for _ in range(_TRIES):
            self._catch_up(collection, version, made=made, now=move.now)
            with self.database.write() as tx:
                catalog.lock_collection(tx, collection.id)
                newest = catalog.get_collection(tx, project, name=collection.id)
                version = versions.get(tx, collection.id, id=version.id)
                lacking = {id: sequence for id, (sequence, _) in _lacking(tx, version).items()}
                if all((version.fingerprint, *written) in made for written in lacking.items()):
                    move.first(tx)  # a repetition is not told that its own move was not expected
                    _check_expected(newest, move.expected)
                    if guard is not None:  # again: another version may answer by now than was judged
                        _check_guard(tx, newest, version=version, guard=guard)
                    _make_known(tx, version, lacking=lacking, made=made)
                    versions.activate(tx, newest, version=version, now=move.now)
                    return catalog.get_collection(tx, project, name=collection.id)
        message = f"documents are written faster than version {version.id} takes them in"
        raise ServiceError("not_ready", message + "; try again")

    def _told(self, project: str, version: VersionRecord) -> VersionRecord:
        """The version with its model's fingerprint: before its first index a collection may have embedded nothing."""
        if version.model is None or version.fingerprint is not None:
            return version
        found = self.embedder.embed(self.lookup.find(project, version.model), ["warm"], side=Side.DOCUMENT)
        with self.database.write() as tx:
            versions.learn(tx, version.id, fingerprint=found.fingerprint)
            return versions.get(tx, version.collection_id, id=version.id)

    def _catch_up(self, collection: CollectionRecord, version: VersionRecord, *, made: Made, now: float) -> None:
        """The version's model has embedded what was written since its index was made, and is loaded."""
        if version.model is None or version.fingerprint is None:
            return
        with self.database.read() as tx:
            lacking = _lacking(tx, version)
        if len(lacking) > MAX_CAUGHT_UP:
            with self.database.write() as tx:
                job = order_version(tx, collection, version=version, now=now)
            message = f"version {version.id} lacks more than {MAX_CAUGHT_UP} documents that were written since; "
            raise ServiceError("not_ready", message + f"job {job} takes them in, promote it then")
        texts = {(version.fingerprint, id, sequence): text for id, (sequence, text) in lacking.items()}
        new = [written for written in texts if written not in made]
        vectors = self._embed(collection.project, version, texts=[texts[written] for written in new] or ["warm"])
        made |= {written: vectors[row].astype("<f4").tobytes() for row, written in enumerate(new)}

    def _embed(self, project: str, version: VersionRecord, *, texts: Sequence[str]) -> NDArray[np.float32]:
        assert version.model is not None, "one without a model lacks nothing"
        found = self.embedder.embed(self.lookup.find(project, version.model), texts, side=Side.DOCUMENT)
        if found.fingerprint != version.fingerprint:
            message = f"model {version.model} is not what it was when version {version.id} was built; build a new one"
            raise Conflict("not_ready", message)
        return found.vectors


def _lacking(tx: Tx, version: VersionRecord) -> dict[str, tuple[int, str]]:
    """Documents that the version could not find: sequence number and text, by id; a few more than are caught up."""
    if version.fingerprint is None:
        return {}
    return changes.missing(
        tx,
        version.collection_id,
        fingerprint=version.fingerprint,
        after=version.watermark,
        limit=MAX_CAUGHT_UP + 1,
    )


def _make_known(tx: Tx, version: VersionRecord, *, lacking: Mapping[str, int], made: Made) -> None:
    """The version can find what it lacked, in the transaction by which it answers.

    No vector of a model that does not answer is ever kept: before there is a version, the newest one tells the model.
    """
    if lacking:
        assert version.fingerprint is not None, "one without a model lacks nothing"
        vectors = {id: made[version.fingerprint, id, sequence] for id, sequence in lacking.items()}
        embedded = Embedded(fingerprint=version.fingerprint, vectors=vectors)
        changes.make_known(tx, version.collection_id, embedded=embedded, made_of=lacking)


def _check_expected(collection: CollectionRecord, expected: str | None) -> None:
    if expected is not None and collection.active_version != expected:
        message = f"collection {collection.name!r} answers by version {collection.active_version}, not by {expected}"
        raise ServiceError("precondition_failed", message + "; read it again and decide anew")


def _check_guard(tx: Tx, collection: CollectionRecord, *, version: VersionRecord, guard: Guard) -> None:
    """Raise unless the evaluation shows the version's model to be that much better than the one that answers."""
    evaluation = evaluations.get_evaluation(tx, collection.project, id=guard.evaluation)
    scores = {one["name"]: one["metrics"] for one in evaluation.summary.get("models", [])}
    if not scores:
        raise ServiceError("not_ready", f"evaluation {guard.evaluation} has no result yet; see its job")
    for name in (collection.model, version.model):
        if name not in scores or guard.metric not in scores[name]:
            message = f"evaluation {guard.evaluation} has no {guard.metric} of {name}; evaluate both models with it"
            raise ServiceError("guard_failed", message, param="guard.evaluation")
    delta = scores[version.model][guard.metric] - scores[collection.model][guard.metric]
    if delta < guard.min_delta:
        message = f"{guard.metric} of {version.model} is {delta:+.4f} against {collection.model}"
        raise ServiceError("guard_failed", f"{message}; at least {guard.min_delta:+g} was asked for")
