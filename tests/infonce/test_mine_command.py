"""`infonce mine`: a new file that says where it comes from, that readers of pairs read, and one sentence a mistake."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from infonce.config import Side
from infonce.encoder import Encoder
from infonce.formats import check_pairs, read_pairs
from infonce.mine_command import mine_app
from tests.factories import sentences, tiny_model, toy_pairs

WIDE = ("--range", "2", "20", "--relative-margin", "none")


@pytest.fixture(autouse=True)
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INFONCE_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "pairs.jsonl"
    lines = ({"anchor": p.anchor, "positive": p.positive, "negatives": list(p.negatives)} for p in some_pairs())
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tiny_model(tmp_path / "model")


def some_pairs() -> list[Any]:
    return [*toy_pairs(30, negatives=1), *toy_pairs(3)]


def infonce_mine(folder: Path, *words: str | Path, output: str = "mined.jsonl") -> Result:
    given = (folder / "pairs.jsonl", "--model", folder / "model", "--output", folder / output, *words)
    return CliRunner().invoke(mine_app, [str(word) for word in given], catch_exceptions=False)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_new_file_names_its_parent_its_model_and_every_score(tmp_path: Path) -> None:
    printed = json.loads(infonce_mine(tmp_path, *WIDE, "--json").stdout)
    output = tmp_path / "mined.jsonl"
    assert printed["sha256"] == hashlib.sha256(output.read_bytes()).hexdigest()
    first, *others = lines(output)
    encoder = Encoder.load(tmp_path / "model")
    parent = hashlib.sha256((tmp_path / "pairs.jsonl").read_bytes()).hexdigest()
    assert first["mining"]["parent"] == {"name": "pairs.jsonl", "sha256": parent}
    assert first["mining"]["model"]["fingerprint"] == encoder.fingerprint()
    assert printed["config"]["range"] == [2, 20] and not any("mining" in other for other in others)
    for line in (first, others[-1]):
        asked = encoder.encode([line["anchor"]], side=Side.QUERY)[0]
        scores = encoder.encode([line["positive"], *line["negatives"]]) @ asked
        assert [line["positive_score"], *line["negative_scores"]] == pytest.approx(scores.tolist(), abs=2e-5)


def test_readers_of_pairs_read_it_with_what_was_given_in_front(tmp_path: Path) -> None:
    assert infonce_mine(tmp_path, *WIDE, "--per-query", "3").exit_code == 0
    found = list(read_pairs(tmp_path / "mined.jsonl"))
    assert [(new.anchor, new.positive) for new in found] == [(old.anchor, old.positive) for old in some_pairs()]
    for new, old in zip(found, some_pairs(), strict=True):
        assert new.negatives[: len(old.negatives)] == old.negatives
        assert len(new.negatives) == len(old.negatives) + 3
    assert check_pairs(tmp_path / "mined.jsonl").ignored_fields == 2 * len(found) + 1


def test_the_same_order_gives_the_same_bytes_out_of_kept_vectors(tmp_path: Path) -> None:
    for output in ("one.jsonl", "two.jsonl"):
        assert infonce_mine(tmp_path, *WIDE, "--sampling", "random", output=output).exit_code == 0
    assert (tmp_path / "one.jsonl").read_bytes() == (tmp_path / "two.jsonl").read_bytes()
    (folder,) = (tmp_path / "cache").iterdir()
    assert folder.name == f"{Encoder.load(tmp_path / 'model').fingerprint()}-float32" and len([*folder.iterdir()]) == 2


def test_negatives_come_out_of_the_corpus_that_was_named(tmp_path: Path) -> None:
    corpus = [f"{text} over there" for text in sentences(40, seed=3)]
    rows = (json.dumps({"_id": f"d{place}", "text": text}) + "\n" for place, text in enumerate(corpus))
    (tmp_path / "corpus.jsonl").write_text("".join(rows))
    done = infonce_mine(tmp_path, *WIDE, "--retriever", "both", "--corpus", tmp_path / "corpus.jsonl")
    assert "40 documents" in done.stdout and "Embedding took" in done.stdout
    assert {text for pair in read_pairs(tmp_path / "mined.jsonl") for text in pair.negatives[1:]} <= {*corpus}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--range", "500", "600"), "none stands at the ranks 501 to 600; lower the beginning of range"),
        ((*WIDE, "--max-score", "-1"), "candidates passed the filter; loosen the margins or max_score"),
        (("--relative-margin", "much"), "relative_margin is 'much'; it must be a number such as 0.05, or none"),
        (("--retriever", "faiss"), "retriever is 'faiss'; it must be one of dense, bm25, both"),
        (("--per-query", "200"), "per_query is 200; it must be between 1 and 100"),
        (("--precision", "fp8"), "precision is 'fp8'; it must be one of"),
        (("--precision", "auto"), "precision is 'auto', which another run may decide otherwise; name float32"),
        (("--corpus", "nowhere.jsonl"), "nowhere.jsonl: No such file"),
        (("--output", "nowhere/mined.jsonl"), "the folder nowhere of the output is not there; make it first"),
    ],
)
def test_a_mistake_is_one_sentence_and_no_file(tmp_path: Path, words: tuple[str, ...], sentence: str) -> None:
    done = infonce_mine(tmp_path, *words)
    assert done.exit_code == 1 and done.stdout == "" and sentence in done.stderr.replace("\n", " ")
    assert not (tmp_path / "mined.jsonl").exists() and not (tmp_path / "mined.jsonl.part").exists()


def test_nothing_is_overwritten_and_a_line_too_long_to_be_read_is_not_written(tmp_path: Path) -> None:
    (tmp_path / "mined.jsonl").write_text("mine")
    assert "nothing is overwritten" in infonce_mine(tmp_path, *WIDE).stderr
    assert (tmp_path / "mined.jsonl").read_text() == "mine"
    texts = ["x" * 30_000 + str(number) for number in range(60)]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    words = ("--range", "0", "60", "--relative-margin", "none", "--per-query", "50")
    done = infonce_mine(tmp_path, *words, "--corpus", tmp_path / "corpus.jsonl", output="long.jsonl")
    assert "the limit is 1048576; lower per_query" in done.stderr and not (tmp_path / "long.jsonl").exists()


def test_fields_of_odd_names_are_mapped(tmp_path: Path) -> None:
    rows = ("q,a", *(f"{pair.anchor},{pair.positive}" for pair in toy_pairs(30)))
    (tmp_path / "odd.csv").write_text("\n".join(rows))
    given = ["--model", tmp_path / "model", "--output", tmp_path / "mined.jsonl", *WIDE, "--per-query", "2"]
    said = ["--mapping", '{"anchor": "q", "positive": "a"}']
    done = CliRunner().invoke(mine_app, [str(word) for word in (tmp_path / "odd.csv", *given, *said)])
    assert done.exit_code == 0, done.stderr
    found = list(read_pairs(tmp_path / "mined.jsonl"))
    assert [(new.anchor, new.positive) for new in found] == [(old.anchor, old.positive) for old in toy_pairs(30)]
