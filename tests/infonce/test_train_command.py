"""`infonce train`: a model in a folder, one JSON object, a run that goes on, and one sentence for each mistake."""

import fcntl
import hashlib
import json
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Thread

import pytest
from typer.testing import CliRunner, Result

from infonce.encoder import Encoder
from infonce.pairs import Pair
from infonce.train_command import train_app
from tests.factories import tiny_model, toy_pairs

FIXED = ("--set", "precision=float32", "--set", "attention=sdpa", "--batch-size", "8", "--learning-rate", "0.001")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny_model(tmp_path / "model")


def written(folder: Path, pairs: Sequence[Pair]) -> Path:
    path = folder / "pairs.jsonl"
    path.write_text("".join(json.dumps({"anchor": p.anchor, "positive": p.positive}) + "\n" for p in pairs))
    return path


def infonce_train(*words: str | Path) -> Result:
    return CliRunner().invoke(train_app, [str(word) for word in words], catch_exceptions=False)


def until(true: Callable[[], bool], *, seconds: float = 60.0) -> None:
    """Wait until it is true, or fail."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.01)


def test_the_last_line_is_one_object_and_the_model_is_what_it_says(tmp_path: Path, model: Path) -> None:
    pairs = written(tmp_path, toy_pairs(40))
    done = infonce_train(pairs, "--model", model, "--output", tmp_path / "out", *FIXED, "--epochs", "2", "--json")
    printed = json.loads(done.stdout.splitlines()[-1])
    weights = (tmp_path / "out" / "model.safetensors").read_bytes()
    assert printed["weights_sha256"] == hashlib.sha256(weights).hexdigest()
    assert printed["pairs_per_second"] == pytest.approx(2 * printed["num_pairs"] / printed["seconds"])
    assert printed["peak_memory_bytes"] > 1e8 and printed["loss"] > 0 and printed["num_pairs"] == 36
    assert printed["metrics"].keys() == {"base", "tuned", "comparison"}
    assert Encoder.load(tmp_path / "out").max_seq_length == 64
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert len(report["curve"]) == 10 and not (tmp_path / "out" / "checkpoints").exists()
    assert report["model"] == "model" and report["weights_sha256"] == printed["weights_sha256"]
    assert report["data"]["training_file"]["sha256"] == hashlib.sha256(pairs.read_bytes()).hexdigest()
    assert report["summary"]["evaluations"][0]["comparison"] == printed["metrics"]["comparison"]
    page, card = ((tmp_path / "out" / name).read_text() for name in ("report.html", "README.md"))
    assert "pairs.jsonl" in page and str(tmp_path) not in page + card + json.dumps(report)


def test_copies_and_pairs_that_answer_themselves_are_left_out_and_told(tmp_path: Path, model: Path) -> None:
    pairs, printed = toy_pairs(24), []
    for name, given in (("bare", pairs), ("more", [*pairs, pairs[3], pairs[3], Pair("the same", " the same")])):
        words = (written(tmp_path, given), "--model", model, "--output", tmp_path / name, *FIXED, "--epochs", "1")
        done = infonce_train(*words, "--json")
        printed.append(json.loads(done.stdout.splitlines()[-1]))
    assert printed[0]["weights_sha256"] == printed[1]["weights_sha256"]
    assert printed[1]["left_out"] == {"duplicate_pair": 2, "query_equals_positive": 1}
    assert "left out are 2 copies of pairs and 1 pairs whose positive is their query" in " ".join(done.stderr.split())
    pages = [(tmp_path / name / "report.html").read_text() for name in ("bare", "more")]
    assert ["Left out of the training file" in page for page in pages] == [False, True]


def test_a_table_is_trained_on_by_its_mapping(tmp_path: Path, model: Path) -> None:
    path = tmp_path / "faq.csv"
    path.write_text("q,a\n" + "".join(f'"{p.anchor}","{p.positive}"\n' for p in toy_pairs(16)))
    words = (path, "--model", model, "--output", tmp_path / "out", *FIXED, "--epochs", "1", "--held-out", "0")
    assert "name the columns so, or say in a mapping" in " ".join(infonce_train(*words).stderr.split())
    assert "is not JSON" in infonce_train(*words, "--mapping", "q,a").stderr
    done = infonce_train(*words, "--mapping", '{"anchor": "q", "positive": "a"}')
    assert done.exit_code == 0 and "16 pairs, 2 steps in" in done.stdout


def test_nothing_held_out_means_no_metrics_and_a_person_reads_sentences(tmp_path: Path, model: Path) -> None:
    pairs = written(tmp_path, toy_pairs(16))
    words = (pairs, "--model", model, "--output", tmp_path / "out", *FIXED, "--epochs", "1", "--held-out", "0")
    done = infonce_train(*words)
    assert "16 pairs, 2 steps in" in done.stdout and "ndcg" not in done.stdout
    assert f"The model is in {tmp_path / 'out'}" in done.stdout.replace("\n", "")
    again = infonce_train(*words)
    assert again.exit_code == 1 and "nothing is overwritten; name a new folder" in again.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--model", "acme/none"), "'acme/none' is not a known model"),
        (("--batch-size", "500"), "batch_size is 500 and there are 16 pairs; lower it or bring more pairs"),
        (("--set", "warmup=1"), "warmup is not a setting; known are"),
        (("--set", "temperature"), "has no '='; write NAME=VALUE"),
        (("--set", "temperature=9000"), "temperature is 9000; it must be between"),
        (("--set", "early_stopping={}"), "nothing is held out to judge by"),
        (("--max-length", "3"), "max_seq_length is 3; it must be between 4"),
        (("--set", "n_epochs=1"), "n_epochs is given in another place; use --epochs"),
        (("--set", "dropout=0", "--set", "dropout=0.1"), "dropout is given in another place; use one --set alone"),
        (("--set", 'loss={"symmetric": false}'), "name the settings of the loss one by one"),
        (("--held-out", "-0.1"), "evaluation.held_out is -0.1; it must be above 0 and below 1"),
        (("--held-out", "nan"), "evaluation.held_out is nan; it must be above 0 and below 1"),
        (("--held-out", "1"), "evaluation.held_out is 1.0; it must be above 0 and below 1"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path: Path, model: Path, words: tuple[str, ...], sentence: str) -> None:
    pairs = written(tmp_path, toy_pairs(16))
    given = ("--model", str(model), "--held-out", "0") if "--model" not in words else ()
    done = infonce_train(pairs, *given, "--output", tmp_path / "out", *words)
    assert done.exit_code == 1 and done.stdout == ""
    assert done.stderr.count("\n") <= 2 and sentence in done.stderr
    assert not (tmp_path / "out" / "model.safetensors").exists()


def test_two_at_once_in_one_folder_are_one_and_a_refusal(tmp_path: Path, model: Path) -> None:
    words = (written(tmp_path, toy_pairs(16)), "--model", model, "--output", tmp_path / "out", *FIXED)
    folder = tmp_path / "out" / "checkpoints"
    folder.mkdir(parents=True)
    with (folder / "lock").open("ab") as lock:  # as the other process has it
        fcntl.flock(lock, fcntl.LOCK_EX)
        refused = infonce_train(*words)
    assert refused.exit_code == 1 and "another process trains into" in refused.stderr.replace("\n", " ")
    assert infonce_train(*words).exit_code == 0


def test_a_run_that_is_told_to_end_goes_on_with_the_weights_of_one_that_was_not(tmp_path: Path, model: Path) -> None:
    pairs = written(tmp_path, toy_pairs(40))
    common = (pairs, "--model", model, *FIXED, "--epochs", "8", "--held-out", "0", "--set", "dropout=0.1", "--json")
    whole = json.loads(infonce_train(*common, "--output", tmp_path / "whole").stdout)
    cut = tmp_path / "cut"

    def told_to_end() -> None:
        until(lambda: any((cut / "checkpoints").glob("step-*")))
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)  # should it come when the run has ended
    teller = Thread(target=told_to_end)
    teller.start()
    stopped = infonce_train(*common, "--output", cut, "--save-every", "0")
    teller.join()
    signal.signal(signal.SIGTERM, before)
    assert stopped.exit_code == 130 and "the same command goes on from" in stopped.stderr
    changed = infonce_train(*common, "--output", cut, "--seed", "7")
    assert changed.exit_code == 1 and "its seed was 42 and is 7; set it back" in changed.stderr
    again = infonce_train(*common, "--output", cut)
    assert json.loads(again.stdout)["weights_sha256"] == whole["weights_sha256"]
    assert "going on after the" in again.stderr
