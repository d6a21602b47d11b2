"""The body of an index job leaves an index over given and computed vectors, and computes none twice."""

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infonce.bm25 import Bm25Index
from infonce.config import Precision, Side
from infonce.encoder import Encoder
from infonce.errors import IndexMismatch, Stopped
from infonce.filters import Comparator, Condition
from infonce.index import VectorIndex
from infonce.live_index import Main
from infonce.live_words import WORDS_FOLDER
from tests.factories import sentences
from tests.worker.jobs.conftest import Recorder
from worker.early import EarlyVectors
from worker.jobs.embedding import cached
from worker.jobs.index import run


def document(id: str, text: str | None = None, vector: list[float] | None = None) -> str:
    encoded = None if vector is None else base64.b64encode(np.array(vector, dtype="<f4").tobytes()).decode()
    told = {"id": id, "text": text, "vector": encoded, "metadata": {"from": id[:1]}, "embedded": None, "sequence": 1}
    return json.dumps(told) + "\n"


@pytest.fixture
def order(tmp_path: Path, model: Path) -> dict[str, Any]:
    path = tmp_path / "documents.jsonl"
    path.write_text("".join(document(f"d{place}", text) for place, text in enumerate(sentences(30))))
    return {
        "kind": "index",
        "staging": str(tmp_path / "staging"),
        "vectors_root": str(tmp_path / "vectors"),
        "threads": 1,
        "model": {"name": "acme/tiny", "path": str(model)},
        "documents": str(path),
        "dimension": 32,
        "precision": "float32",
        "embedded_by": None,
        "previous": None,
        "collection": "col-1",
        "is_served": True,
        "early": str(tmp_path / "early"),
        "index": {"type": "auto", "prefix": "auto"},
    }


@pytest.mark.parametrize(
    ("type", "trained", "prefix"),
    [("hnsw", [16], 16), ("ivf_sq8", [31], 31), ("hnsw", [], None), ("hnsw", [32, 64], None)],
)
def test_a_model_that_was_trained_for_prefixes_is_searched_by_one(
    order: dict[str, Any], recorder: Recorder, model: Path, type: str, trained: list[int], prefix: int | None
) -> None:
    own = model.parent / "own"
    shutil.copytree(model, own)
    config = json.loads((own / "config.json").read_text())
    (own / "config.json").write_text(json.dumps(config | {"matryoshka_dimensions": trained}))
    order["model"], order["index"] = {"name": "acme/own", "path": str(own)}, {"type": type, "prefix": "auto"}
    assert run(order, recorder)["index"] == {"type": type, "prefix": prefix}
    shutil.rmtree(own)
    index, vectors = VectorIndex.load(Path(order["staging"])), recorder.early
    assert vectors and index.search(index.vectors, 1) == index.search(index.vectors, 1, exact=True)


def test_few_documents_are_compared_until_they_are_enough_for_product_quantisation(
    order: dict[str, Any], recorder: Recorder
) -> None:
    order["index"] = {"type": "ivf_pq", "prefix": "auto"}
    assert run(order, recorder)["index"] == {"type": "flat", "prefix": None}
    assert recorder.events == ["index"]


def test_every_text_is_found_by_its_own_vector(order: dict[str, Any], recorder: Recorder) -> None:
    result = run(order, recorder)
    index, encoder = VectorIndex.load(Path(order["staging"])), Encoder.load(Path(order["model"]["path"]))
    vectors = encoder.encode(sentences(30), side=Side.DOCUMENT)
    assert [hits.ids[0] for hits in index.search(vectors, 1)] == [f"d{place}" for place in range(30)]
    asked = Condition(comparator=Comparator.EQ, key="from", value="d")
    assert Main.load(Path(order["staging"])).columns.mask(asked).tolist() == [True] * 30
    assert (result["count"], result["embedded"], result["reused"]) == (30, 30, 0)
    assert result["precision"] == "float32"
    assert result["fingerprint"] == index.fingerprint == encoder.fingerprint()
    assert recorder.phases == ["loading", "embedding", "building"]
    assert recorder.steps[-1]["percent"] == 100


def test_every_block_is_told_as_soon_as_it_is_embedded(order: dict[str, Any], recorder: Recorder) -> None:
    texts = [f"{place} {sentences(30)[place % 30]}" for place in range(600)]
    own = document("own", vector=[1.0] * 32)
    Path(order["documents"]).write_text(own + "".join(document(f"d{n}", text) for n, text in enumerate(texts)))
    run(order, recorder)
    told = [EarlyVectors.load(path) for path in recorder.early]
    assert [list(one.vectors) for one in told] == [[f"d{n}" for n in range(600)[at : at + 256]] for at in (0, 256, 512)]
    index = VectorIndex.load(Path(order["staging"]))
    rows = {id: index.vectors[row].tobytes() for row, id in enumerate(index.ids) if id != "own"}
    assert {id: vector for one in told for id, vector in one.vectors.items()} == rows
    assert {(one.collection, one.model, one.fingerprint) for one in told} == {("col-1", "acme/tiny", index.fingerprint)}
    assert all(set(one.sequences.values()) == {1} and one.sequences.keys() == one.vectors.keys() for one in told)


def test_what_another_model_answers_for_is_not_told(order: dict[str, Any], recorder: Recorder) -> None:
    run(order | {"is_served": False}, recorder)
    assert recorder.early == [] and recorder.phases[-1] == "building"


def test_every_text_is_found_by_its_words_in_the_row_of_its_vector(order: dict[str, Any], recorder: Recorder) -> None:
    with Path(order["documents"]).open("a") as lines:
        lines.write(document("bare", vector=[1.0] + [0.0] * 31) + document("own", "quite unheard", vector=[1.0] * 32))
    run(order, recorder)
    words, ids = Bm25Index.load(Path(order["staging"]) / WORDS_FOLDER), VectorIndex.load(Path(order["staging"])).ids
    assert (words.count, words.num_worded) == (32, 31)
    assert [ids[row] for row in words.search(["unheard"], 1)[0]] == ["own"]
    best = words.search(sentences(30), 1)[:, 0]
    texts = [sentences(30)[row] for row in best]
    assert texts == sentences(30)


def test_without_a_model_no_words_are_kept(order: dict[str, Any], recorder: Recorder) -> None:
    Path(order["documents"]).write_text(document("own", "up", vector=[1.0] * 32))
    run(order | {"model": None}, recorder)
    assert not (Path(order["staging"]) / WORDS_FOLDER).exists()


def test_what_was_embedded_before_is_not_embedded_again(order: dict[str, Any], recorder: Recorder) -> None:
    run(order, recorder)
    with Path(order["documents"]).open("a") as lines:
        lines.write(document("new", "a text that nobody has seen"))
    result = run(order, recorder)
    assert (result["count"], result["reused"], result["embedded"]) == (31, 30, 1)


def test_vectors_that_are_known_are_not_made_again(order: dict[str, Any], recorder: Recorder, tmp_path: Path) -> None:
    first = run(order, recorder)
    Path(order["staging"]).rename(tmp_path / "previous")
    shutil.rmtree(order["vectors_root"])
    rows = [json.loads(line) for line in Path(order["documents"]).read_text().splitlines()]
    rows[0] |= {"sequence": 9, "text": "changed since"}
    rows[1] |= {"sequence": 9, "embedded": base64.b64encode(np.eye(32, dtype="<f4")[0].tobytes()).decode()}
    Path(order["documents"]).write_text("".join(json.dumps(row) + "\n" for row in rows))
    previous = {"path": str(tmp_path / "previous"), "watermark": 8}
    known = {"previous": previous, "embedded_by": first["fingerprint"]}
    result = run(order | known, recorder)
    assert (result["reused"], result["embedded"]) == (29, 1)
    made, before = (VectorIndex.load(Path(path)).vectors for path in (order["staging"], previous["path"]))
    assert np.array_equal(made[2:], before[2:]) and made[1, 0] == 1.0 and not np.allclose(made[0], before[0])
    assert run(order | known | {"embedded_by": "other"}, recorder)["reused"] == 30 - 1  # the cache has the changed one
    (tmp_path / "previous" / "ids").write_text("damaged")
    shutil.rmtree(order["vectors_root"])
    assert run(order | known, recorder)["embedded"] == 29
    assert recorder.events[-1] == "index"


def test_given_vectors_are_used_as_they_are(order: dict[str, Any], recorder: Recorder) -> None:
    Path(order["documents"]).write_text(document("east", vector=[1, 0]) + document("north", vector=[0, 1]))
    result = run(order | {"model": None, "dimension": 2}, recorder)
    index = VectorIndex.load(Path(order["staging"]))
    assert index.search(np.array([[0, 1]], dtype=np.float32), 1)[0].ids == ("north",)
    assert (result["count"], result["fingerprint"], recorder.phases) == (2, None, ["loading", "building"])


def test_an_index_of_nothing_is_told_as_what_it_is(order: dict[str, Any], recorder: Recorder) -> None:
    Path(order["documents"]).write_text("")
    order["index"] = {"type": "hnsw", "prefix": 4}
    assert run(order, recorder)["index"] == {"type": "flat", "prefix": None}


def test_empty_collection_gives_an_empty_index(order: dict[str, Any], recorder: Recorder) -> None:
    Path(order["documents"]).write_text("")
    assert run(order, recorder)["count"] == 0
    assert VectorIndex.load(Path(order["staging"])).dimension == 32


def test_vector_of_another_dimension_is_refused_by_its_document(order: dict[str, Any], recorder: Recorder) -> None:
    Path(order["documents"]).write_text(document("odd", vector=[1, 0, 0]))
    with pytest.raises(IndexMismatch, match="'odd' has 3 dimensions, the collection has 32"):
        run(order, recorder)


def test_model_of_another_dimension_is_refused(order: dict[str, Any], recorder: Recorder) -> None:
    with pytest.raises(IndexMismatch, match="its model 32"):
        run(order | {"dimension": 16}, recorder)


def test_wish_to_stop_is_heard_while_embedding(order: dict[str, Any]) -> None:
    with pytest.raises(Stopped):
        run(order, Recorder(stop_in="embedding"))


@pytest.mark.parametrize("precision", [Precision.FLOAT32, Precision.BF16])
def test_the_precision_of_kept_vectors_is_used_whatever_is_fastest_now(
    order: dict[str, Any], recorder: Recorder, precision: Precision
) -> None:
    encoder, root = Encoder.load(Path(order["model"]["path"])), Path(order["vectors_root"])
    cached(encoder, root, precision=precision, progress=recorder).encode(sentences(30), side=Side.DOCUMENT)
    assert run(order | {"precision": "auto"}, recorder)["reused"] == 30


def test_the_precision_of_most_kept_vectors_counts(order: dict[str, Any], recorder: Recorder) -> None:
    encoder, root = Encoder.load(Path(order["model"]["path"])), Path(order["vectors_root"])
    for precision, count in ((Precision.FLOAT32, 2), (Precision.BF16, 30)):
        kept = cached(encoder, root, precision=precision, progress=recorder)
        kept.encode(sentences(30)[:count], side=Side.DOCUMENT)
    result = run(order | {"precision": "auto"}, recorder)
    assert (result["precision"], result["reused"]) == ("bf16", 30)


def test_vectors_of_another_precision_are_not_those_that_are_wanted(order: dict[str, Any], recorder: Recorder) -> None:
    assert run(order | {"precision": "int8"}, recorder)["embedded"] == 30
    assert run(order, recorder)["embedded"] == 30
    assert run(order | {"precision": "int8"}, recorder)["reused"] == 30
