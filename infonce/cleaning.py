"""A file of pairs without what an audit objects to beyond doubt; nothing else is left out, and what is is counted.

Left out are pairs that were there before with the same negatives, pairs whose positive is their query, and
negatives that are a positive of their query or the query itself. Near duplicates are for people to judge.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from infonce.dialects import FieldMapping
from infonce.digest import sha256_of
from infonce.duplicates import pair_digest
from infonce.errors import ConfigError, DatasetError, Issue
from infonce.formats import opened_pairs
from infonce.pair_keys import Relation, is_own_answer
from infonce.pairs import Pair
from infonce.split import MIN_TRAINING_PAIRS
from infonce.text_sample import text_digest

_WORD_BYTES: Final = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Cleaned:
    """How many are left, and how many were left out."""

    pairs: int
    duplicate_pair: int
    query_equals_positive: int
    conflicting_negatives: int


class Repetitions:
    """Knows each pair that it was asked for, by 8 bytes of its texts, negatives included."""

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def is_new(self, pair: Pair) -> bool:
        """Whether no equal pair, with equal negatives, was asked for before."""
        digest = pair_digest(pair)
        if pair.negatives:
            told = json.dumps([digest, *pair.negatives]).encode()
            digest = int.from_bytes(hashlib.blake2b(told, digest_size=_WORD_BYTES).digest(), "little")
        if digest in self._seen:
            return False
        self._seen.add(digest)
        return True


def trainable(pairs: Iterable[Pair]) -> tuple[list[Pair], dict[str, int]]:
    """The pairs, in their order, without exact copies and without those whose positive is their query; and how many.

    A copy has the same negatives too: the same query and positive with other negatives is another pair.
    """
    kept: list[Pair] = []
    dropped = {"duplicate_pair": 0, "query_equals_positive": 0}
    repetitions = Repetitions()
    for pair in pairs:
        if is_own_answer(pair):
            dropped["query_equals_positive"] += 1
        elif not repetitions.is_new(pair):
            dropped["duplicate_pair"] += 1
        else:
            kept.append(pair)
    return kept, dropped


def without_copies(pairs: Iterable[Pair]) -> tuple[list[Pair], dict[str, int]]:
    """What `trainable` says of the pairs of a training.

    Raises:
        DatasetError: it leaves too few.
    """
    kept, dropped = trainable(pairs)
    if len(kept) < MIN_TRAINING_PAIRS:
        copies, own = dropped["duplicate_pair"], dropped["query_equals_positive"]
        found = f"{len(kept)} pairs are left without {copies} copies and {own} whose positive is their query"
        detail = f"{found}; {MIN_TRAINING_PAIRS} are needed: bring more pairs"
        raise DatasetError([Issue(line=None, field=None, code="too_few_pairs", detail=detail)])
    return kept, dropped


def clean_file(path: Path, output: Path, *, mapping: FieldMapping | None = None) -> Cleaned:
    """The new file is there, whole, one JSON object a line, the first of which says under `cleaning` what was done.

    Raises:
        DatasetError: a line is broken, or no pair is left.
        ConfigError: the output is there already.
        OSError: it cannot be written.
    """
    if output.exists():
        raise ConfigError(f"{output} is there already and nothing is overwritten; name a new file", param="cleaned")

    def read() -> Iterator[Pair]:
        with opened_pairs(path, mapping=mapping) as reader:
            yield from (pair for _, pair in reader)
            reader.raise_any()

    relation = Relation.of((text_digest(pair.anchor), text_digest(pair.positive)) for pair in read())
    count = _Counts()
    for _ in count.cleaned(read(), relation):
        pass
    if not count.pairs:
        detail = "no pair is left once copies and positives that are their query are out; bring other pairs"
        raise DatasetError([Issue(line=None, field=None, code="empty_dataset", detail=detail)])
    done = count.result()
    origin = {"parent_sha256": sha256_of(path), **asdict(done)}
    _write(output, _Counts().cleaned(read(), relation), origin=origin)
    return done


class _Counts:
    """Counts what it leaves out."""

    def __init__(self) -> None:
        self.pairs = self.duplicates = self.own_answers = self.negatives = 0

    def cleaned(self, pairs: Iterable[Pair], relation: Relation) -> Iterator[Pair]:
        """The pairs that are left, in their order."""
        repetitions = Repetitions()
        for pair in pairs:
            if is_own_answer(pair):
                self.own_answers += 1
                continue
            anchor = text_digest(pair.anchor) if pair.negatives else 0
            negatives = tuple(text for text in pair.negatives if not relation.forbids(anchor, text_digest(text)))
            self.negatives += len(pair.negatives) - len(negatives)
            left = Pair(pair.anchor, pair.positive, negatives)
            if repetitions.is_new(left):
                self.pairs += 1
                yield left
            else:
                self.duplicates += 1

    def result(self) -> Cleaned:
        """What was counted."""
        return Cleaned(
            pairs=self.pairs,
            duplicate_pair=self.duplicates,
            query_equals_positive=self.own_answers,
            conflicting_negatives=self.negatives,
        )


def _write(path: Path, pairs: Iterator[Pair], *, origin: Mapping[str, Any]) -> None:
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            for number, pair in enumerate(pairs):
                values: dict[str, Any] = {"anchor": pair.anchor, "positive": pair.positive}
                values |= {"negatives": list(pair.negatives)} if pair.negatives else {}
                values |= {} if number else {"cleaning": dict(origin)}
                file.write(json.dumps(values, ensure_ascii=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)
