"""`infonce evaluate`: the numbers of each model, how sure their difference is, and queries to look at."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from infonce.compare import Change, Outcome, changes
from infonce.encoder import Encoder
from infonce.evaluate_command import evaluate_app
from infonce.evaluation import evaluate
from infonce.qrels import EvalSet, read_beir, write_beir
from tests.factories import sentences, tiny_model


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two models, and queries whose documents say the same with one word more."""
    monkeypatch.setenv("INFONCE_CACHE", str(tmp_path / "cache"))
    for name, seed in (("one", 0), ("two", 1)):
        tiny_model(tmp_path / name, seed=seed)
    texts = sentences(40)
    judged = EvalSet(
        corpus={f"d{n}": f"{text} house" for n, text in enumerate(texts)},
        queries={f"q{n}": text for n, text in enumerate(texts[:20])},
        qrels={f"q{n}": {f"d{n}": 2, f"d{n + 1}": 1, f"d{n + 2}": 0} for n in range(20)},
    )
    write_beir(judged, tmp_path / "judged.zip")
    return tmp_path / "judged.zip"


def infonce_evaluate(data: Path, *words: str | Path) -> Result:
    return CliRunner().invoke(evaluate_app, [str(word) for word in (data, *words)], catch_exceptions=False)


def both(data: Path) -> tuple[str, ...]:
    return ("--model", str(data.parent / "one"), "--model", str(data.parent / "two"))


def test_the_numbers_are_those_of_the_library(data: Path) -> None:
    printed = json.loads(infonce_evaluate(data, *both(data), "--json").stdout)
    judged = read_beir(data)
    for name, found in zip(("one", "two"), printed["models"], strict=True):
        encoder = Encoder.load(data.parent / name)
        expected = evaluate(encoder, judged, ks=(1, 5, 10, 100)).metrics
        assert found["metrics"] == pytest.approx(expected) and found["fingerprint"] == encoder.fingerprint()
    assert printed["data"] == {"digest": judged.digest, "documents": 40, "queries": 20}
    (found,) = printed["comparisons"]
    assert found["delta"] == pytest.approx(found["mean_tuned"] - found["mean_base"])
    assert found["wins"] + found["losses"] + found["ties"] == 20


def test_examples_are_of_every_outcome_and_the_largest_changes(data: Path) -> None:
    words = (*both(data), "--metric", "mrr@5", "--k", "5", "--examples", "2", "--json")
    (found,) = json.loads(infonce_evaluate(data, *words).stdout)["comparisons"]
    shown: dict[str, list[Any]] = {name: [] for name in Outcome}
    for example in found["examples"]:
        shown[example["outcome"]].append(example)
        assert example["relevant"][0] == f"{example['text']} house" and example["base_first"].endswith("house")
    counted = {"win": found["wins"], "loss": found["losses"], "tie": found["ties"]}
    assert {name: len(examples) for name, examples in shown.items()} == {k: min(2, n) for k, n in counted.items()}
    assert all(example["tuned"] > example["base"] for example in shown["win"])


def test_changes_come_by_size_and_ties_by_how_bad_they_are() -> None:
    base = {"a": 0.5, "b": 0.0, "c": 1.0, "d": 0.2, "e": 0.9}
    tuned = {"a": 0.6, "b": 0.0, "c": 0.0, "d": 0.9, "e": 0.9}
    found = changes(*({q: {"m": v} for q, v in values.items()} for values in (base, tuned)), metric="m")
    assert [change.query for change in found] == ["c", "d", "a", "b", "e"]
    assert found[0] == Change(query="c", base=1.0, tuned=0.0)
    assert [change.outcome for change in found] == ["loss", "win", "win", "tie", "tie"]


def test_a_person_reads_a_table_and_a_verdict(data: Path) -> None:
    done = infonce_evaluate(data, *both(data))
    assert "20 queries, 40 documents" in done.stdout and "ndcg@10" in done.stdout
    verdict = done.stdout[done.stdout.index("95 % interval") :]
    assert "wins" in verdict and any(word in verdict for word in ("better", "worse", "inconclusive"))
    assert "base first" in verdict and "tuned first" in verdict


def test_one_model_alone_out_of_a_folder_has_numbers_and_no_comparison(data: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(data) as archive:
        archive.extractall(tmp_path / "folder")
    (tmp_path / "folder" / "qrels" / "test.tsv").rename(tmp_path / "folder" / "qrels.tsv")
    words = ("--model", tmp_path / "one", "--json")
    whole, packed = (json.loads(infonce_evaluate(path, *words).stdout) for path in (tmp_path / "folder", data))
    assert whole["models"][0]["metrics"] == packed["models"][0]["metrics"] and whole["comparisons"] == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--metric", "ndcg@7"), "metric is 'ndcg@7', which is not measured; known are ndcg@1"),
        (("--k", "0", "--metric", "ndcg@0"), "ks is 0; it must be between 1 and 1000"),
        (("--model", "acme/none"), "'acme/none' is not a known model"),
        (("--model", "{one}"), "is named twice; name each once"),
        (("--precision", "fp8"), "precision is 'fp8'; it must be one of"),
        (("--precision", "auto"), "precision is 'auto', which another run may decide otherwise; name float32"),
        (("--max-length", "3"), "max_seq_length is 3; it must be between 4"),
    ],
)
def test_a_mistake_is_one_sentence(data: Path, words: tuple[str, ...], sentence: str) -> None:
    given = [word.format(one=data.parent / "one") for word in words]
    done = infonce_evaluate(data, "--model", data.parent / "one", *given)
    assert done.exit_code == 1 and done.stdout == "" and sentence in done.stderr.replace("\n", " ")
