"""The benchmarks measure what they say, side by side, through the door that a user takes."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from typer.testing import CliRunner, Result

from infonce.bench import scaling
from infonce.bench.cli import bench_app
from infonce.bench.processes import run, tree_bytes
from infonce.bench.scaling import Setting
from infonce.errors import DatasetError, InfonceError
from infonce.flops import Encoded
from infonce.losses import info_nce
from infonce.qrels import EvalSet, read_beir
from tests.end_to_end.processes import until
from tests.factories import tiny_encoder, tiny_model, toy_pairs
from tests.worker.test_process import runs


def bench(*words: object) -> Result:
    return CliRunner().invoke(bench_app, [str(word) for word in words], catch_exceptions=False)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    lines = [json.dumps({"query": pair.anchor, "positive": pair.positive}) for pair in toy_pairs(12)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path / "pairs.jsonl"


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    folder = tmp_path / "judged"
    folder.mkdir()
    for name, side in (("corpus", "d"), ("queries", "q")):
        lines = [json.dumps({"id": f"{side}{i}", "text": pair.positive}) for i, pair in enumerate(toy_pairs(8))]
        (folder / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (folder / "qrels.tsv").write_text("".join(f"q{i}\td{i}\t1\n" for i in range(8)), encoding="utf-8")
    return folder


def test_both_sides_train_on_the_same_pairs_and_are_judged(tmp_path: Path, pairs: Path, judged: Path) -> None:
    model, output = tiny_model(tmp_path / "model"), tmp_path / "out"
    words = ("--pairs", 8, "--batch-size", 4, "--max-length", 32, "--rounds", 1, "--peer", "default", "--dropout", 0)
    done = bench("train", pairs, "--model", model, *words, "--judge", judged, "--output", output, "--json")
    ours, theirs, cached, judgement = [json.loads(line) for line in done.stdout.splitlines()]
    assert ours["num_pairs"] == theirs["num_pairs"] == 8 and ours["num_steps"] == theirs["num_steps"] == 2
    assert ours["mean_loss"] == pytest.approx(cached["mean_loss"], rel=1e-3)  # each measures which attention is faster
    assert ours["mean_loss"] == pytest.approx(theirs["mean_loss"], rel=0.2)  # theirs has dropout
    assert min(ours["peak_gb"], theirs["peak_gb"]) > 0.1 and judgement["num_queries"] == 8
    assert {path.name for path in output.iterdir()} == {"train.json", "train.md", "train.png"}


def test_what_theirs_minimises_is_our_symmetric_loss(tmp_path: Path) -> None:
    anchors, positives = torch.nn.functional.normalize(torch.randn(2, 6, 8), dim=-1)
    peer = SentenceTransformer(str(tiny_model(tmp_path)))
    directions = {"directions": ("query_to_doc", "doc_to_query"), "partition_mode": "per_direction"}
    theirs = MultipleNegativesRankingLoss(peer, scale=20.0, **directions)
    found = theirs.compute_loss_from_embeddings([anchors, positives], torch.empty(0))
    assert found.item() == pytest.approx(info_nce(anchors, positives).item(), rel=1e-5)


def test_a_gateway_is_measured_beside_the_library(tmp_path: Path, pairs: Path) -> None:
    words = ("--calls", 8, "--callers", 4, "--tokens", 4, "--rounds", 1, "--json")
    done = bench("embeddings", pairs, "--model", tiny_model(tmp_path / "tiny"), *words)
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    answers = ["1,000 vectors, base64", "1,000 vectors, float"]
    assert [row["name"] for row in rows] == ["~4", *answers, "GET of a job that waits", "before its first model"]
    assert rows[3]["p99_ms"] >= rows[3]["p50_ms"] > 0 and 50 < rows[4]["megabytes"] < 200
    assert rows[0]["callers_share"] == pytest.approx(rows[0]["callers_per_second"] / rows[0]["bulk_per_second"])
    assert rows[2]["megabytes"] > rows[1]["megabytes"] > 0.1


def test_encoding_is_compared_in_every_precision(tmp_path: Path, pairs: Path) -> None:
    done = bench("encode", pairs, "--model", tiny_model(tmp_path / "model"), "--rounds", 1, "--json")
    rows = {row["name"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert rows["infonce, float32"]["cosine_min"] > 0.99999 and rows["infonce, bf16"]["cosine_min"] > 0.99
    assert rows["sentence-transformers, float32"]["times_theirs"] == 1


def test_search_finds_the_true_neighbours_of_a_file_of_vectors(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.random.default_rng(0).standard_normal((300, 8)))
    rows = list(map(json.loads, bench("search", tmp_path / "v.npy", "--rounds", 1, "--json").stdout.splitlines()))
    assert [row["recall"] for row in rows] == [1.0] * 4 and all(row["batch_64"] > 0 for row in rows)


def test_the_cost_of_a_pair_is_taken_over_the_steps_asked_for_and_loading_apart(tmp_path: Path) -> None:
    taken = scaling.run(Setting(model=tiny_model(tmp_path), batch_size=4, steps=8, seed=0), 40)
    assert taken.num_steps == 8 and taken.milliseconds > 0 and taken.loading_seconds > 0


def test_the_work_counts_each_layer_that_multiplies_and_attention(tmp_path: Path) -> None:
    encoded = Encoded.of(tiny_encoder(tmp_path))
    assert encoded.num_parameters == 2 * (4 * 32 * 32 + 2 * 32 * 64)
    assert encoded.flops(np.array([3, 5])) == 6 * encoded.num_parameters * 8 + 12 * 2 * 32 * (9 + 25)


def test_the_peak_of_a_process_tree_counts_the_children() -> None:
    held = "import subprocess, sys; x = bytearray(60_000_000); "
    child = f"{held}print('{{}}', flush=True); sys.stdin.read()"
    code = f'{held}subprocess.run([sys.executable, "-c", {child!r}], stdin=sys.stdin)'
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline()
        assert 120e6 < tree_bytes(process.pid) < 300e6
        process.communicate()


def test_a_fresh_process_ends_with_the_one_that_waits_for_it() -> None:
    wait = "print(__import__('os').getpid(), flush=True) or __import__('signal').pause()"
    code = f"from infonce.bench.processes import in_fresh_process\nin_fresh_process(eval, {wait!r})"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        process.kill()
    until(lambda: not runs(pid), "the end of the fresh process", seconds=5)


def test_a_process_that_fails_is_told_by_its_last_line() -> None:
    with pytest.raises(InfonceError, match=r"no such thing$"):
        run([sys.executable, "-c", "raise SystemExit('no such thing')"], on_poll=lambda seconds: None)


def test_judgements_are_read_from_a_folder_and_one_without_them_is_refused(judged: Path) -> None:
    found = read_beir(judged)
    assert isinstance(found, EvalSet) and len(found.corpus) == 8 and found.qrels["q0"] == {"d0": 1}
    (judged / "qrels.tsv").unlink()
    with pytest.raises(DatasetError, match=r"no qrels\.tsv; add the judgements"):
        read_beir(judged)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("train", "{pairs}", "--batch-size", 64), "there are 12 pairs and a batch has 64"),
        (("encode", "nowhere.jsonl"), "nowhere.jsonl: No such file"),
        (("search", "{pairs}", "--model", "nobody"), "'nobody' is not a known model"),
        (("scale", "--sizes", 4), "--sizes has 4 and a batch has 8 pairs"),
    ],
)
def test_a_mistake_is_one_sentence(words: tuple[object, ...], sentence: str, pairs: Path) -> None:
    done = bench(*(str(word).format(pairs=pairs) for word in words))
    assert (done.exit_code, done.stdout) == (1, "") and done.stderr.startswith(f"infonce: {sentence}")
    assert done.stderr.count("\n") == 1


def test_without_the_extra_the_remedy_is_one_sentence(pairs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    done = bench("train", pairs)
    assert done.exit_code == 1 and "pip install 'infonce-service[bench]'" in done.stderr
