"""What an audit finds is what a slow look at every pair finds, and it finds the same however it is asked."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from infonce.audit import Audit, audit_file, audit_pairs, list_keys
from infonce.cleaning import clean_file, trainable
from infonce.config import Side
from infonce.dialects import FieldMapping
from infonce.errors import ConfigError, DatasetError
from infonce.findings import FindingCode, Findings
from infonce.formats import read_pairs
from infonce.length_picture import TokenCounter
from infonce.near_duplicates import find_near_duplicates
from infonce.negative_scores import score_negatives
from infonce.pairs import Pair
from infonce.split import text_key
from infonce.text_sample import SampledText, TextSample, text_digest
from tests.factories import sentences, tiny_model

TEXTS = st.sampled_from(["a", "A ", "b", "é", "e\u0301", "a  b", "A b", "c"])
PAIRS = st.lists(st.builds(Pair, TEXTS, TEXTS, st.lists(TEXTS, max_size=3).map(tuple)), min_size=1, max_size=12)


def audited(pairs: Sequence[Pair], held_out: Sequence[Pair] = ()) -> Audit:
    theirs = list_keys(enumerate(held_out, 1)) if held_out else None
    return audit_pairs(lambda: enumerate(pairs, 1), held_out=theirs)


def written(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def count(audit: Audit, code: FindingCode) -> int:
    return next((finding.count for finding in audit.findings if finding.code is code), 0)


def lines_of(audit: Audit, code: FindingCode) -> list[int | None]:
    return [issue.line for finding in audit.findings if finding.code is code for issue in finding.issues]


@settings(max_examples=30)
@given(PAIRS)
def test_conflicts_and_structure_are_those_of_a_slow_look(pairs: list[Pair]) -> None:
    found = audited(pairs)
    relation = {(text_key(pair.anchor), text_key(pair.positive)) for pair in pairs}
    asked = [(text_key(pair.anchor), text_key(text)) for pair in pairs for text in pair.negatives]
    assert count(found, FindingCode.CONFLICTING_PAIR) == sum(one in relation for one in asked)
    assert count(found, FindingCode.QUERY_AMONG_NEGATIVES) == sum(anchor == text for anchor, text in asked)
    of_queries = Counter(Counter(anchor for anchor, _ in relation).values())
    bars = {bar["from"]: bar["count"] for bar in found.structure["positives_per_query"]}
    assert bars == dict(of_queries) and found.structure["distinct_pairs"] == len(relation)
    assert found.negatives == len(asked)


@settings(max_examples=30)
@given(PAIRS, PAIRS)
def test_overlap_is_that_of_sets(pairs: list[Pair], held_out: list[Pair]) -> None:
    found = audited(pairs, held_out)
    queries, positives = ({text_key(getattr(p, name)) for p in held_out} for name in ("anchor", "positive"))
    shared = [(text_key(pair.anchor) in queries, text_key(pair.positive) in positives) for pair in pairs]
    assert found.held_out is not None
    assert (found.held_out["queries"], found.held_out["positives"]) == tuple(map(sum, zip(*shared, strict=True)))
    assert found.held_out["both"] == sum(query and positive for query, positive in shared)
    assert count(found, FindingCode.HELD_OUT_QUERY) == found.held_out["queries"]


def test_of_many_places_twenty_are_named_and_all_are_counted() -> None:
    found = audited([Pair("q", "a")] * 50 + [Pair("x", "x")] * 30)
    (copies,) = [one for one in found.findings if one.code is FindingCode.DUPLICATE_PAIR]
    assert (copies.count, len(copies.issues), copies.to_dict()["shown"]) == (78, 20, 20)
    assert [issue.line for issue in copies.issues] == list(range(2, 22)) and "line 1;" in copies.issues[0].detail
    assert lines_of(found, FindingCode.QUERY_EQUALS_POSITIVE) == list(range(51, 71))


@pytest.mark.parametrize(
    ("pairs", "degenerate"),
    [
        ([Pair("q", "a")], True),
        ([Pair("q", "a")] * 9, True),
        ([Pair("q", "a")] * 99 + [Pair("r", "b")], True),
        ([Pair(t, t) for t in "abcd"], True),
        ([Pair("q", "a"), Pair("r", "b")], False),
    ],
    ids=["H31 one pair", "H31 all the same", "H32 99 % copies", "H32 all answer themselves", "two pairs"],
)
def test_h31_h32_a_degenerate_dataset_is_a_warning(pairs: list[Pair], degenerate: bool) -> None:
    assert count(audited(pairs), FindingCode.DEGENERATE_DATASET) == degenerate


def test_fields_that_are_not_read_are_named_and_labels_are_warned_of(tmp_path: Path) -> None:
    rows = [{"sentence1": "q", "sentence2": "a", "score": 0.1, "id": 7}, {"sentence1": "r", "sentence2": "b", "id": 8}]
    found = audit_file(written(tmp_path / "f", rows))
    assert found.ignored_fields == {"score": 1, "id": 2}
    assert (count(found, FindingCode.LABEL_IGNORED), count(found, FindingCode.IGNORED_FIELD)) == (1, 1)


def test_a_file_is_audited_like_its_pairs_whatever_its_fields_are_called(tmp_path: Path) -> None:
    pairs = [Pair(text, f"{text} dog", (text,)) for text in sentences(30)]
    rows = [{"q": p.anchor, "a": p.positive, "n": list(p.negatives)} for p in pairs]
    mapping = FieldMapping(anchor="q", positive="a", negatives=("n",))
    assert audit_file(written(tmp_path / "f", rows), mapping=mapping) == audited(pairs)


def test_a_broken_line_ends_the_audit_with_its_number(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="Line 2"):
        audit_file(written(tmp_path / "f", [{"query": "q", "positive": "a"}, {"query": "q"}]))


def test_lengths_are_the_tokenizers_and_what_is_cut_is_counted(tmp_path: Path) -> None:
    counter = TokenCounter.of(tiny_model(tmp_path / "tiny"), "tiny", max_length=8)
    texts = [f"{text} {text}" * (1 + number % 3) for number, text in enumerate(sentences(40))]
    pairs = [Pair(text, f"answer {text}") for text in texts]
    found = audit_pairs(lambda: enumerate(pairs, 1), counter=counter)
    lengths = np.array([len(counter.tokenizer.encode(text).ids) for text in texts])
    assert found.lengths is not None
    of = found.lengths["queries"]
    assert (of["texts"], of["tokens"], of["truncated"]) == (40, lengths.sum(), (lengths > 8).sum())
    assert of["tokens_lost"] == np.maximum(lengths - 8, 0).sum() and sum(b["count"] for b in of["histogram"]) == 40
    assert (of["quantiles"]["0"], of["quantiles"]["1"]) == (lengths.min(), lengths.max())


def test_near_duplicates_are_those_whose_shingles_agree() -> None:
    texts = ["how do I reset my password on the site", "how do I reset my password on the sites", "where is my parcel"]
    findings = Findings()
    assert find_near_duplicates([SampledText(t, n, "anchor") for n, t in enumerate(texts, 1)], findings) == 1
    (issue,) = findings.found()[0].issues
    assert (issue.line, issue.field) == (2, "anchor") and "anchor of line 1" in issue.detail


def test_a_hundred_copies_of_one_text_are_ninety_nine_near_duplicates() -> None:
    texts = [
        SampledText(f"the order number {n:03} was not delivered to my house in time", n, "anchor") for n in range(100)
    ]
    assert find_near_duplicates(texts, Findings()) == 99


@settings(max_examples=30)
@given(st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=60), st.integers(2, 10), st.randoms())
def test_a_sample_does_not_depend_on_the_order(texts: list[str], limit: int, random: Any) -> None:
    def taken(texts: list[str]) -> set[str]:
        sample = TextSample(max_texts=limit, max_characters=1_000, seed=1)
        for line, text in enumerate(texts):
            sample.add(text_digest(text), text, line=line, field="anchor")
        assert len(sample.texts) <= limit and (sample.share == 1) == (len({*map(text_key, texts)}) <= limit)
        return {text_key(one.text) for one in sample.texts}

    shuffled = random.sample(texts, len(texts))
    assert taken(texts) == taken(shuffled)


class Numbers:
    """Encodes a number as an angle, so that scores are known."""

    def encode(self, texts: Sequence[str], *, side: Side) -> NDArray[np.float32]:
        angles = np.array([float(text) for text in texts], dtype=np.float32)
        return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def test_negatives_above_or_near_their_positive_are_named() -> None:
    pairs = [Pair("0", "0.5", ("0.1", "0.52", "2")), Pair("1", "1"), Pair("0", "0.1", ("3",))]
    findings = Findings()

    def read() -> Iterator[tuple[int, Pair]]:
        return iter(enumerate(pairs, 1))

    scores = score_negatives(Numbers(), read, name="angles", findings=findings)
    assert (scores["above_positive"], scores["suspects"], scores["negatives"], scores["pairs"]) == (1, 1, 4, 2)
    places = {one.code: (one.issues[0].line, one.issues[0].field) for one in findings.found()}
    assert places[FindingCode.NEGATIVE_ABOVE_POSITIVE] == (1, "negatives[0]")
    assert places[FindingCode.FALSE_NEGATIVE_SUSPECT] == (1, "negatives[1]")


def test_of_many_pairs_as_many_are_scored_as_have_2000_texts() -> None:
    def read() -> Iterator[tuple[int, Pair]]:
        return ((line, Pair("0", "0.5", ("0.1",) * 8)) for line in range(1, 300))

    scores = score_negatives(Numbers(), read, name="angles", findings=Findings())
    assert (scores["pairs"], scores["pairs_with_negatives"], scores["negatives"]) == (200, 299, 1_600)


@settings(max_examples=30)
@given(PAIRS)
def test_a_cleaned_set_has_no_copies_and_no_conflicts_and_loses_nothing_else(pairs: list[Pair]) -> None:
    kept, dropped = trainable(pairs)
    assert len(kept) + sum(dropped.values()) == len(pairs)
    assert trainable(kept) == (kept, {"duplicate_pair": 0, "query_equals_positive": 0})
    assert count(audited(kept), FindingCode.QUERY_EQUALS_POSITIVE) == 0 if kept else True


def test_a_cleaned_file_is_what_is_left_in_its_order_and_is_clean(tmp_path: Path) -> None:
    rows = [
        {"query": "q", "positive": "a", "negatives": ["b", "A", "q"]},
        {"query": "q", "positive": "a", "negatives": ["b"]},
        {"query": "same", "positive": "same "},
        {"query": "q", "positive": "a", "negatives": ["c"]},
    ]
    done = clean_file(written(tmp_path / "f", rows), tmp_path / "clean")
    assert list(read_pairs(tmp_path / "clean")) == [Pair("q", "a", ("b",)), Pair("q", "a", ("c",))]
    assert (done.pairs, done.duplicate_pair, done.query_equals_positive, done.conflicting_negatives) == (2, 1, 1, 2)
    assert count(audit_file(tmp_path / "clean"), FindingCode.CONFLICTING_PAIR) == 0
    with pytest.raises(ConfigError, match="already"):
        clean_file(tmp_path / "f", tmp_path / "clean")
