"""The probe has two kinds of text in the numbers that were promised, and is the same each time."""

import json
from pathlib import Path

import pytest

from infonce.docstrings import Source, installed_sources
from infonce.errors import DatasetError
from infonce.retention import BOUND, MIN_DOCUMENTS, MIN_QUERIES, Retention, build_probe, within_bound

SMALL = [Source(package="json", folder=Path(json.__file__).parent)]


def test_the_probe_of_this_installation_is_large_enough_and_of_both_kinds() -> None:
    probe = build_probe(installed_sources())
    assert len(probe.queries) >= MIN_QUERIES and len(probe.corpus) == MIN_DOCUMENTS
    packages = sum(name.startswith("package ") for name in probe.corpus)
    assert 0 < packages <= MIN_DOCUMENTS // 2
    assert probe.queries.keys() == probe.qrels.keys()
    assert max(map(len, probe.corpus.values())) <= 72


def test_the_probe_is_the_same_each_time() -> None:
    assert build_probe(installed_sources()) == build_probe(installed_sources())


def test_an_installation_with_too_few_texts_is_told_with_a_remedy() -> None:
    with pytest.raises(DatasetError, match=r"fewer than 3000; name an eval file of yours as evaluation\.retention"):
        build_probe(SMALL)


def test_a_fall_within_the_bound_is_held() -> None:
    held = Retention(base=0.5, tuned=0.5 - BOUND / 2, num_queries=1, num_documents=1)
    fallen = Retention(base=0.5, tuned=0.48, num_queries=1, num_documents=1)
    assert held.to_dict()["held"] is True and fallen.to_dict()["held"] is False
    assert fallen.to_dict()["delta"] == pytest.approx(-0.02)
    assert within_bound(0.5, 0.9)
