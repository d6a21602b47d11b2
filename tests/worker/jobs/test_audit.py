"""A training job says what is wrong with its file, by line, and trains on no pair twice."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from infonce.audit import audit_file
from infonce.config import EncoderConfig, Prompts, TrainConfig
from infonce.encoder import Encoder
from infonce.errors import DatasetError
from infonce.length_picture import TokenCounter
from infonce.pairs import Pair
from tests.factories import toy_pairs
from tests.worker.jobs.conftest import Recorder
from worker.jobs.audit import audit_order
from worker.jobs.judged import read_data

ODD = [
    Pair("which pet barks", "the dog barks", ("the dog barks", "the cat purrs", "a tree")),
    Pair("which pet barks", "the dog barks", ("the dog barks", "the cat purrs", "a tree")),
    Pair("same", "same"),
]


def file_of(path: Path, pairs: Sequence[Pair]) -> dict[str, Any]:
    rows = ({"anchor": p.anchor, "positive": p.positive, "negatives": p.negatives} for p in pairs)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"id": f"file-{path.stem}", "path": str(path), "sha256": "0" * 64, "mapping": None}


@pytest.fixture
def order(tmp_path: Path, model: Path) -> dict[str, Any]:
    return {
        "model": {"name": "acme/tiny", "path": str(model)},
        "training_file": file_of(tmp_path / "pairs", [*toy_pairs(20), *ODD]),
        "validation_file": file_of(tmp_path / "judged", toy_pairs(3)),
        "evaluation_file": None,
        "evaluation": {"held_out": 0.0, "ks": [1]},
        "config": TrainConfig().to_dict(),
    }


def test_the_report_has_what_the_library_finds_and_what_the_base_model_scores(
    order: dict[str, Any], model: Path, recorder: Recorder
) -> None:
    base = Encoder.load(model)
    found = audit_order(order, base, reads=EncoderConfig(max_seq_length=4), progress=recorder)
    held_out = Path(order["validation_file"]["path"])
    counter = TokenCounter.of(model, "acme/tiny", max_length=4)
    expected = audit_file(Path(order["training_file"]["path"]), held_out=held_out, counter=counter).to_dict()
    assert {name: found[name] for name in ("lengths", "held_out", "structure")} == {
        name: expected[name] for name in ("lengths", "held_out", "structure")
    }
    assert found["findings"][: len(expected["findings"])] == expected["findings"]
    assert found["scores"]["negatives"] == 6 and found["scores"]["above_positive"] >= 2
    assert found["dropped"] == {"duplicate_pair": 1, "query_equals_positive": 1}


def test_what_a_user_had_better_know_is_an_event(order: dict[str, Any], model: Path, recorder: Recorder) -> None:
    base = Encoder.load(model)
    audit_order(order, base, reads=EncoderConfig(max_seq_length=4), progress=recorder)
    told = {"conflicting_pair", "held_out_query", "negative_above_positive", "dropped_pairs", "truncated_text"}
    assert told <= set(recorder.events)


def test_lengths_are_those_that_the_training_reads_its_prompts_included(
    order: dict[str, Any], model: Path, recorder: Recorder
) -> None:
    counted = []
    for prompt in ("", "blue cat: "):
        reads = EncoderConfig(max_seq_length=64, prompts=Prompts(query=prompt))
        counted.append(audit_order(order, Encoder.load(model), reads=reads, progress=recorder)["lengths"])
    bare, prompted = counted
    assert bare["documents"] == prompted["documents"] and bare["queries"]["texts"] == prompted["queries"]["texts"]
    assert prompted["queries"]["tokens"] >= bare["queries"]["tokens"] + 3 * bare["queries"]["texts"]


def test_a_training_takes_no_copies_and_needs_two_pairs(order: dict[str, Any], tmp_path: Path) -> None:
    order["validation_file"] = None
    assert read_data(order)[0] == [*toy_pairs(20), ODD[0]]
    order["training_file"] = file_of(tmp_path / "few", [ODD[0]] * 9 + [ODD[2]] * 5)
    with pytest.raises(DatasetError, match="1 pairs are left without 8 copies and 5") as caught:
        read_data(order)
    assert caught.value.issues[0].code == "too_few_pairs"
