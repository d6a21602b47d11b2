"""`infonce estimate`: a table or one JSON object, and one sentence for each mistake."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from infonce.estimate_command import estimate_app
from tests.factories import tiny_model, toy_pairs

FIXED = ("--set", "precision=float32", "--set", "attention=sdpa", "--batch-size", "8")


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps({"anchor": p.anchor, "positive": p.positive}) + "\n" for p in toy_pairs(40)))
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny_model(tmp_path / "model")


def infonce_estimate(*words: str | Path) -> Result:
    return CliRunner().invoke(estimate_app, [str(word) for word in words], catch_exceptions=False)


def test_a_person_reads_a_table_and_nothing_is_written(tmp_path: Path, pairs: Path, model: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    done = infonce_estimate(pairs, "--model", model, *FIXED, "--epochs", "2")
    assert done.exit_code == 0, done.stderr
    assert "36 pairs, 2 epochs, 10 steps of 8 pairs" in done.stdout
    assert "training" in done.stdout and "GB at the peak" in done.stdout
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--model", "acme/none"), "'acme/none' is not a known model"),
        (("--batch-size", "500"), "batch_size is 500 and there are 40 pairs; lower it or bring more pairs"),
        (("--set", "warmup=1"), "warmup is not a setting; known are"),
        (("--set", "early_stopping={}"), "nothing is held out to judge by"),
        (("--processes", "2"), "2 processes would train together"),
        (("--held-out", "2"), "evaluation.held_out is 2.0; it must be above 0 and below 1"),
    ],
)
def test_a_mistake_is_one_sentence(pairs: Path, model: Path, words: tuple[str, ...], sentence: str) -> None:
    given = (
        [*words] + ["--model", str(model)] * ("--model" not in words) + ["--held-out", "0"] * (words[0] != "--held-out")
    )
    done = infonce_estimate(pairs, *given)
    assert done.exit_code == 1 and done.stdout == ""
    assert done.stderr.count("\n") <= 2 and sentence in " ".join(done.stderr.split())


def test_memory_is_that_of_the_run_with_the_same_options(tmp_path: Path, pairs: Path, model: Path) -> None:
    words = [str(pairs), "--model", str(model), *FIXED, "--epochs", "2", "--json"]
    printed = []
    for command in (["estimate"], ["train", "--output", str(tmp_path / "out")]):
        line = [sys.executable, "-m", "service.cli", *command, *words]
        done = subprocess.run(line, capture_output=True, text=True, check=True)
        printed.append(json.loads(done.stdout.splitlines()[-1]))
    found, real = printed
    assert found["peak_memory_bytes"] == pytest.approx(real["peak_memory_bytes"], rel=0.2)
    assert (found["num_steps"], found["trained_tokens"]) == (real["num_steps"], real["trained_tokens"])
    assert {**found["settings"], "max_graph_gb": 0} == {**real["config"], "max_graph_gb": 0}
