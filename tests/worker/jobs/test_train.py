"""The body of a training job leaves a model with a report that says how it compares to its base."""

import json
import shutil
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from infonce.config import EncoderConfig, Side, TrainConfig
from infonce.digest import signed
from infonce.encoder import Encoder
from infonce.errors import ConfigError, Stopped
from infonce.groups import groups_of
from infonce.mining_config import MiningConfig
from infonce.model_card import model_card
from infonce.pairs import Pair
from infonce.qrels import EvalSet, write_beir
from infonce.records import StepRecord
from infonce.report import MAX_CURVE_POINTS, thinned
from infonce.report_page import report_page
from tests.factories import toy_pairs
from tests.worker.jobs.conftest import Recorder, write_pairs
from worker.jobs.judged import read_data
from worker.jobs.train import run
from worker.jobs.watcher import Watcher


def test_model_and_report_are_in_staging(order: dict[str, Any], recorder: Recorder) -> None:
    result = run(order, recorder)
    staging = Path(order["staging"])
    report = json.loads((staging / "report.json").read_text())
    encoder = Encoder.load(staging)
    assert (result["fingerprint"], result["max_tokens"]) == (encoder.fingerprint(), 32)
    assert report["summary"] == json.loads(json.dumps(result["summary"]))
    assert (report["num_pairs"], report["num_steps"], len(report["curve"])) == (32, 4, 4)
    assert str(staging.parent) not in json.dumps(report)
    assert recorder.phases == ["loading", "baseline", "training", "exporting", "evaluating"]
    assert {"precision", "attention", "max_seq_length", "batch_size"} <= recorder.chosen.keys()
    assert recorder.steps[-1]["percent"] == 100


def test_a_person_finds_page_and_card_beside_the_report(order: dict[str, Any], recorder: Recorder) -> None:
    hyperparameters = {"batch_size": "auto", "temperature": 0.05, "max_seq_length": None}
    negatives = {"use": "all", "max_per_query": 7}
    method = {"hyperparameters": hyperparameters, "hard_negatives": negatives, "pooling": "auto", "prompts": None}
    order["asked"] = {"method": {"contrastive": method}, "hyperparameters": {"batch_size": 8, "n_epochs": "auto"}}
    order["training_file"] |= {"filename": "<b>pairs</b>.jsonl"}
    run(order, recorder)
    staging = Path(order["staging"])
    report = json.loads((staging / "report.json").read_text())
    page, card = (staging / "report.html").read_text(), (staging / "README.md").read_text()
    assert page == report_page(report) and card == model_card(report)
    assert "&lt;b&gt;pairs&lt;/b&gt;.jsonl" in page and str(staging.parent) not in page + card
    settings = {row["name"]: row for row in report["settings"]}
    assert (settings["batch_size"]["asked"], settings["pooling"]["became"]) == (8, "mean")
    assert "asked" not in settings["weight_decay"] and settings["hard_negatives.use"]["asked"] == "all"
    SentenceTransformer(str(staging), device="cpu")


def test_the_report_says_how_hard_negatives_were_to_be_looked_for(order: dict[str, Any], recorder: Recorder) -> None:
    how = MiningConfig(per_query=1, range=(0, 10), relative_margin=None).to_dict()
    order["config"] |= {"mine": how, "mine_every_epochs": 1}
    negatives = {"use": "all", "max_per_query": 7, "mine": {**how, "corpus_file": None, "every_epochs": 1}}
    method = {"hyperparameters": {}, "hard_negatives": negatives, "pooling": "auto", "prompts": None}
    order["asked"] = {"method": {"contrastive": method}}
    run(order, recorder)
    settings = json.loads((Path(order["staging"]) / "report.json").read_text())["settings"]
    said = {row.pop("name"): row for row in settings}
    assert said["hard_negatives.mine"] == {"asked": how, "became": how}
    assert said["hard_negatives.mine.every_epochs"] == {"asked": 1, "became": 1}


def test_the_report_shows_queries_as_both_models_answered_them(order: dict[str, Any], recorder: Recorder) -> None:
    run(order, recorder)
    report = json.loads((Path(order["staging"]) / "report.json").read_text())
    _, judged = read_data(order)
    beside, comparison = report["side_by_side"]["held out"], report["summary"]["evaluations"][0]["comparison"]
    assert beside["intervals"]["ndcg@10"]["low"] == pytest.approx(comparison["low"])
    assert sum(beside["histogram"]) == comparison["wins"] + comparison["losses"]
    for example in beside["examples"]:
        answers = [judged["held out"].corpus[name] for name in judged["held out"].qrels[example["query"]]]
        assert example["text"] == judged["held out"].queries[example["query"]] and example["relevant"] == answers
        assert example["tuned_is_right"] == (example["tuned_first"] in answers)
    assert len(beside["examples"]) == sum(min(6, comparison[name]) for name in ("wins", "losses", "ties"))


def test_numbers_of_the_report_are_those_of_the_saved_model(order: dict[str, Any], recorder: Recorder) -> None:
    result = run(order, recorder)
    [evaluation] = result["summary"]["evaluations"]
    _, judged = read_data(order)
    texts, encoder = judged["held out"], Encoder.load(Path(order["staging"]))
    corpus = encoder.encode(list(texts.corpus.values()), side=Side.DOCUMENT)
    queries = encoder.encode(list(texts.queries.values()), side=Side.QUERY)
    best = [list(texts.corpus)[row] for row in np.argmax(queries @ corpus.T, axis=1)]
    found = [best[place] in texts.qrels[query] for place, query in enumerate(texts.queries)]
    assert evaluation["tuned"]["recall@1"] == pytest.approx(np.mean(found))
    assert (evaluation["name"], evaluation["small_corpus"]) == ("held out", True)
    assert evaluation["drawn_from"] is None


def test_eval_file_decides_the_verdict_before_the_held_out_pairs(
    order: dict[str, Any], recorder: Recorder, tmp_path: Path
) -> None:
    pairs = toy_pairs(12, seed=5)
    corpus = {f"d{place}": pair.positive for place, pair in enumerate(pairs)}
    queries = {f"q{place}": pair.anchor for place, pair in enumerate(pairs)}
    qrels = {f"q{place}": {f"d{place}": 1} for place in range(12)}
    write_beir(EvalSet(corpus=corpus, queries=queries, qrels=qrels), tmp_path / "eval.zip")
    order["evaluation_file"] = {"id": "file-e", "path": str(tmp_path / "eval.zip"), "sha256": "1" * 64}
    summary = run(order, recorder)["summary"]
    assert [one["name"] for one in summary["evaluations"]] == ["eval file", "held out"]
    assert summary["verdict"] == summary["evaluations"][0]["comparison"]["verdict"]


def test_validation_pairs_are_judged_by_instead_of_a_split(order: dict[str, Any], tmp_path: Path) -> None:
    order["validation_file"] = write_pairs(tmp_path / "validation.jsonl", toy_pairs(6, seed=9))
    pairs, judged = read_data(order)
    assert (len(pairs), len(judged["held out"].queries), len(judged["held out"].corpus)) == (40, 6, 46)


def test_nothing_held_out_means_nothing_judged(order: dict[str, Any], recorder: Recorder) -> None:
    order["evaluation"]["held_out"] = 0
    assert run(order, recorder)["summary"] == {"metric": "ndcg@10", "evaluations": [], "verdict": None}


def test_maximum_length_that_was_left_open_is_the_models_own_where_that_is_less(
    order: dict[str, Any], recorder: Recorder
) -> None:
    order["encoder"] = EncoderConfig().to_dict()
    assert run(order, recorder)["max_tokens"] == Encoder.load(Path(order["model"]["path"])).max_seq_length < 256


def test_batch_larger_than_what_the_split_left_is_lowered_and_said(order: dict[str, Any], recorder: Recorder) -> None:
    order["config"] = TrainConfig(n_epochs=1, batch_size=36, learning_rate=1e-3).resolve(40, width=384).to_dict()
    run(order, recorder)
    assert "batch_size" in recorder.events and recorder.chosen["batch_size"] == 32


@pytest.mark.parametrize("phase", ["baseline", "training", "evaluating"])
def test_wish_to_stop_is_heard_in_every_phase(order: dict[str, Any], phase: str) -> None:
    with pytest.raises(Stopped):
        run(order, Recorder(stop_in=phase))


class Interrupting(Recorder):
    """Asks to stop after the second step of the training."""

    def stop_requested(self) -> bool:
        return sum("loss" in values for values in self.steps) == 2


def test_next_attempt_goes_on_where_a_stopped_one_was(
    order: dict[str, Any], recorder: Recorder, tmp_path: Path
) -> None:
    order["config"] |= {"precision": "float32", "attention": "sdpa"}  # measured anew by a run that has no checkpoint
    expected = run({**order, "checkpoints": str(tmp_path / "undisturbed")}, Recorder())["fingerprint"]
    stopped = Interrupting()
    with pytest.raises(Stopped):
        run(order, stopped)
    assert stopped.saved_steps == [2]
    second = {**order, "checkpoints": str(tmp_path / "second"), "inherited": [order["checkpoints"]]}
    assert run(second, recorder)["fingerprint"] == expected
    assert "resumed" in recorder.events
    assert [values["step"] for values in recorder.steps if "loss" in values] == [3, 4]


class Finishing(Recorder):
    """Its user wishes after the second step that the training ends with what it has made."""

    finish: Path

    def step(self, values: Mapping[str, Any]) -> None:
        super().step(values)
        if sum("loss" in step for step in self.steps) == 2:
            self.finish.mkdir(exist_ok=True)


def test_a_training_that_is_to_end_early_leaves_a_judged_model_of_its_steps_also_from_a_checkpoint(
    order: dict[str, Any], recorder: Recorder, tmp_path: Path
) -> None:
    order["config"] |= {"precision": "float32", "attention": "sdpa"}
    finishing = Finishing()
    finishing.finish = Path(order["finish"])
    early = run({**order, "checkpoints": str(tmp_path / "undisturbed")}, finishing)
    report = json.loads((Path(order["staging"]) / "report.json").read_text())
    assert (report["num_steps"], report["summary"]) == (2, json.loads(json.dumps(early["summary"])))
    with pytest.raises(Stopped):
        run({**order, "finish": str(tmp_path / "never")}, Interrupting())
    second = {**order, "checkpoints": str(tmp_path / "second"), "inherited": [order["checkpoints"]]}
    assert run(second, recorder)["fingerprint"] == early["fingerprint"]
    assert "resumed" in recorder.events and not [values for values in recorder.steps if "loss" in values]


def test_checkpoints_of_another_program_are_said_and_the_training_begins_again(
    order: dict[str, Any], recorder: Recorder, tmp_path: Path
) -> None:
    with pytest.raises(Stopped):
        run(order, Interrupting())
    [manifest] = Path(order["checkpoints"]).glob("*/manifest.json")
    notes = json.loads(manifest.read_text())
    notes["facts"]["records"] = ["step"]
    del notes["digest"]
    manifest.write_bytes(signed(json.dumps(notes).encode()))
    run({**order, "checkpoints": str(tmp_path / "second"), "inherited": [order["checkpoints"]]}, recorder)
    assert "checkpoint_mismatch" in recorder.events and "resumed" not in recorder.events
    assert [values["step"] for values in recorder.steps if "loss" in values] == [1, 2, 3, 4]


def test_every_form_of_the_loss_comes_from_the_order(order: dict[str, Any], recorder: Recorder) -> None:
    order["config"]["loss"] |= {"queue_size": 16, "momentum": 0.9, "learn_temperature": True, "matryoshka_dims": [8]}
    run(order, recorder)
    report = json.loads((Path(order["staging"]) / "report.json").read_text())
    assert report["config"]["loss"]["momentum"] == 0.9
    temperatures = [record["temperature"] for record in report["curve"]]
    assert len(set(temperatures)) == len(temperatures) and temperatures[0] == pytest.approx(0.05)
    assert report["temperature"]["first"] == temperatures[0] and report["temperature"]["last"] not in temperatures
    assert "temperature" in recorder.events


def test_a_job_with_adapters_that_is_judged_while_it_goes_on_says_so_and_keeps_no_vectors_of_it(
    order: dict[str, Any], recorder: Recorder
) -> None:
    order["config"] |= {"lora": {"r": 2, "alpha": 4, "dropout": 0.0}, "learning_rate": 1e-2}
    order["config"]["early_stopping"] = {"metric": "mrr@7", "patience": 1}
    result = run(order, recorder)
    report = json.loads((Path(order["staging"]) / "report.json").read_text())
    assert report["best_step"] in range(5) and report["num_steps"] <= 4
    assert report["judged"]["metric"] == "mrr@7" and len(report["judged"]["points"]) == recorder.events.count("judged")
    assert recorder.events.count("judged") >= 2
    assert "mrr@7" in result["summary"]["evaluations"][0]["tuned"]
    assert len(list(Path(order["vectors_root"]).iterdir())) <= 2  # of base and tuned model


def test_what_a_user_should_know_of_a_run_is_said(recorder: Recorder) -> None:
    watcher = Watcher(recorder)
    watcher.dropped(2, 1)
    watcher.joined(groups_of(np.array([[0, 1], [1, 2]]), num_texts=3))
    watcher.unsaved("No space left on device")
    watcher.halved(512)
    watcher.elsewhere("its torch was 1 and is 2")
    assert recorder.events == ["dropped", "groups", "unsaved", "resume_not_bit_exact", "resume_not_bit_exact"]


def test_a_damaged_checkpoint_is_said_and_the_one_before_is_taken(order: dict[str, Any], recorder: Recorder) -> None:
    with pytest.raises(Stopped):
        run(order, Interrupting())
    whole = Path(order["checkpoints"]) / "step-000000002"
    shutil.copytree(whole, damaged := whole.with_name("step-000000003"))
    (damaged / "state.safetensors").write_bytes(b"")
    run(order, recorder)
    assert recorder.events.count("checkpoint_corrupt") == 1 and "resumed" in recorder.events
    assert [values["step"] for values in recorder.steps if "loss" in values] == [3, 4]


def test_too_few_pairs_for_a_split_are_the_users_to_mend(order: dict[str, Any], tmp_path: Path) -> None:
    order["training_file"] = write_pairs(tmp_path / "few.jsonl", toy_pairs(2))
    with pytest.raises(ConfigError, match="held_out"):
        run(order, Recorder())


def test_long_curve_is_thinned_and_keeps_its_end() -> None:
    numbers = {"epoch": 0.0, "loss": 1.0, "learning_rate": 0.1, "grad_norm": 1.0, "pairs_per_second": 1.0}
    numbers |= {"temperature": 0.05, "num_tokens": 1, "elapsed_seconds": 1.0}
    curve = [StepRecord(step=n + 1, total_steps=9_999, eta_seconds=0.0, **numbers) for n in range(9_999)]
    kept = thinned(curve)
    assert len(kept) <= MAX_CURVE_POINTS and kept[-1].step == 9_999
    assert len({after.step - before.step for before, after in pairwise(kept)}) == 1
    assert thinned(curve[:10]) == curve[:10]


def test_a_file_is_read_by_the_mapping_of_its_upload(order: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "mapped.csv"
    path.write_text("q,positive,n\n" + "".join(f"q{number},p{number},n{number}\n" for number in range(40)))
    mapping = {"anchor": "q", "positive": "positive", "negatives": ["n"]}
    order["training_file"] = {"id": "file-x", "path": str(path), "sha256": "0" * 64, "mapping": mapping}
    order["evaluation"] |= {"held_out": 0}
    assert read_data(order)[0] == [Pair(f"q{number}", f"p{number}", (f"n{number}",)) for number in range(40)]
