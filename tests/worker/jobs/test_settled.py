"""A training says what its model has kept, and publishes other weights only where they do better."""

import json
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from infonce.config import EncoderConfig, Precision, TrainConfig
from infonce.encoder import Encoder
from infonce.halves import halves
from infonce.lora import adapted
from infonce.lora_config import LoraConfig
from infonce.qrels import EvalSet, write_beir
from infonce.soup import blend
from tests.factories import toy_pairs
from tests.worker.jobs.conftest import Recorder
from worker.jobs.blended import Spent
from worker.jobs.judged import HELD_OUT, evaluate_all, read_data
from worker.jobs.retained import probe_of
from worker.jobs.settled import Settled, Trained, settle
from worker.jobs.train import run

SEED = 42


def order_of(folder: Path, model: Path, **settings: Any) -> dict[str, Any]:
    """An order whose probe is a small file, so that a search is a matter of moments."""
    folder.mkdir()
    pairs, probe = toy_pairs(160), toy_pairs(30, seed=8)
    (folder / "pairs.jsonl").write_text(
        "".join(json.dumps({"anchor": p.anchor, "positive": p.positive}) + "\n" for p in pairs)
    )
    corpus = {f"d{place}": pair.positive for place, pair in enumerate(probe)}
    queries = {f"q{place}": pair.anchor for place, pair in enumerate(probe)}
    qrels = {f"q{place}": {f"d{place}": 1} for place in range(len(probe))}
    write_beir(EvalSet(corpus=corpus, queries=queries, qrels=qrels), folder / "probe.zip")
    named = {"id": "file-p", "path": str(folder / "pairs.jsonl"), "sha256": "0" * 64, "mapping": None}
    known = {"n_epochs": 1, "batch_size": 8, "precision": "float32", "attention": "sdpa"}
    config = TrainConfig(**(known | settings))
    return {
        "kind": "train", "job_id": "ftjob-1", "attempt": 1, "threads": 1, "processes": 1, "inherited": [],
        "staging": str(folder / "staging"), "finish": str(folder / "finish"),
        "vectors_root": str(folder / "vectors"), "ranks": str(folder / "ranks"),
        "checkpoints": str(folder / "checkpoints"), "model": {"name": "acme/tiny", "path": str(model)},
        "training_file": named, "validation_file": None, "evaluation_file": None, "mining_file": None,
        "retention_file": {"id": "file-r", "path": str(folder / "probe.zip"), "sha256": "1" * 64},
        "config": config.resolve(128, width=384).to_dict(), "encoder": EncoderConfig(max_seq_length=32).to_dict(),
        "evaluation": {"held_out": 0.2, "ks": [1], "retention": "file-r", "interpolation": "auto"},
    }  # fmt: skip


def report_of(order: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(order["staging"]) / "report.json").read_text())
    return found


def settled(
    order: dict[str, Any],
    recorder: Recorder,
    *,
    noise: float,
    trained_tokens: int = 10**9,
    lora: LoraConfig | None = None,
) -> Settled:
    """What becomes of a model whose weights (or adapters) are the base's and so much noise, after so many tokens."""
    base, encoder = (Encoder.load(Path(order["model"]["path"])) for _ in range(2))
    torch.manual_seed(1)
    with adapted(encoder, lora, seed=1), torch.no_grad():
        for weight in encoder.backbone.parameters():
            if weight.requires_grad:
                weight.add_(noise * torch.randn_like(weight))
    encoder.save(Path(order["staging"]))
    _, sets = read_data(order)
    known = {"precision": Precision.FLOAT32, "progress": recorder}
    before = evaluate_all(base, sets, order=order, **known)
    probe = probe_of(order, base, wanted=True, **known)
    trained = Trained(base=base, encoder=encoder, probe=probe, seed=SEED, order=order, **known)
    spent = Spent(clock=perf_counter, elapsed_seconds=1e6, trained_tokens=trained_tokens)
    return settle(trained, sets, before=before, spent=spent)


def test_tuned_weights_that_stay_are_bit_equal_to_the_trainings(
    tmp_path: Path, model: Path, recorder: Recorder
) -> None:
    order = order_of(tmp_path / "job", model, learning_rate=1e-5)
    found = settled(order, recorder, noise=1e-6)
    torch.manual_seed(1)
    trained = Encoder.load(model)
    with torch.no_grad():
        for weight in trained.backbone.parameters():
            weight.add_(1e-6 * torch.randn_like(weight))
    assert found.encoder.fingerprint() == trained.fingerprint() == Encoder.load(Path(order["staging"])).fingerprint()
    curve = found.interpolation["curve"]
    assert (found.interpolation["alpha"], len(curve), curve[0]["alpha"], curve[-1]["alpha"]) == (1.0, 11, 0.0, 1.0)
    assert found.judged.sets == read_data(order)[1]


def test_a_ruined_model_gives_way_to_a_blend_that_the_other_half_judges(
    tmp_path: Path, model: Path, recorder: Recorder
) -> None:
    order = order_of(tmp_path / "job", model, learning_rate=1e-5)
    order["evaluation"]["held_out"] = 0.5
    found = settled(order, recorder, noise=0.3)
    alpha, curve = found.interpolation["alpha"], found.interpolation["curve"]
    assert 0 < alpha < 1 and found.retention["held"]
    assert curve[-1]["probe"] < found.retention["base"] - 0.01
    assert [point["probe"] for point in curve if point["alpha"] == alpha] == [found.retention["tuned"]]
    first, second = halves(read_data(order)[1][HELD_OUT], seed=SEED)
    judged = found.judged
    assert judged.before[HELD_OUT].per_query.keys() == judged.after[HELD_OUT].per_query.keys() == second
    assert found.interpolation["chosen_by"]["num_queries"] == len(first)
    assert found.encoder.fingerprint() == Encoder.load(Path(order["staging"])).fingerprint()
    assert recorder.phases == ["exporting", "evaluating"] and recorder.events == ["interpolation"]


def test_merged_adapters_give_way_to_a_blend_as_whole_weights_do(
    tmp_path: Path, model: Path, recorder: Recorder
) -> None:
    order = order_of(tmp_path / "job", model, learning_rate=1e-5)
    order["evaluation"]["held_out"] = 0.5
    found = settled(order, recorder, noise=0.3, lora=LoraConfig(r=2, alpha=4))
    alpha = found.interpolation["alpha"]
    assert 0 < alpha < 1 and found.retention["held"]
    base, published = (Encoder.load(path).backbone.state_dict() for path in (model, Path(order["staging"])))
    moved = {name for name in base if not torch.equal(base[name], published[name])}
    assert moved and all(base[name].ndim == 2 and "embeddings" not in name for name in moved)
    assert found.encoder.fingerprint() == Encoder.load(Path(order["staging"])).fingerprint()


def test_what_is_measured_on_the_probe_and_between_the_ends_is_told_text_by_text(
    tmp_path: Path, model: Path, recorder: Recorder
) -> None:
    order = order_of(tmp_path / "job", model, learning_rate=1e-5)
    found = settled(order, recorder, noise=1e-6)
    measured = len(found.interpolation["curve"]) - 1  # the base is known
    whole = [step["total_steps"] for step in recorder.steps if step["step"] == step["total_steps"]]
    assert whole.count(30) >= 2 * measured == 20  # the queries of the probe, and its documents
    assert whole.count(found.interpolation["chosen_by"]["num_queries"]) >= measured - 1
    assert recorder.steps[-1]["eta_seconds"] == 0


def test_queries_of_one_class_are_not_chosen_by_for_none_would_be_left_to_judge(
    tmp_path: Path, model: Path, recorder: Recorder
) -> None:
    order = order_of(tmp_path / "job", model, learning_rate=1e-5)
    lines = [json.dumps({"anchor": pair.anchor, "positive": "a complaint"}) for pair in toy_pairs(30, seed=9)]
    (tmp_path / "one.jsonl").write_text("\n".join(lines))
    order["validation_file"] = {"id": "file-v", "path": str(tmp_path / "one.jsonl"), "mapping": None}
    found = settled(order, recorder, noise=0.3)
    assert "the held-out queries part into 30 and 0 that share no document" in found.interpolation["reason"]
    assert found.interpolation["alpha"] == 1.0 and len(found.judged.after[HELD_OUT].per_query) == 30


def test_a_job_that_is_too_short_for_a_search_says_so(tmp_path: Path, model: Path, recorder: Recorder) -> None:
    found = settled(order_of(tmp_path / "job", model, learning_rate=1e-5), recorder, noise=0.3, trained_tokens=0)
    assert (found.interpolation["alpha"], found.retention["held"]) == (1.0, False)
    assert "of the job's work, more than 19%" in found.interpolation["reason"]


def test_an_order_of_an_older_version_has_neither_probe_nor_search(
    tmp_path: Path, model: Path, recorder: Recorder
) -> None:
    order = order_of(tmp_path / "job", model, learning_rate=1e-3)
    order["evaluation"] = {"held_out": 0.2, "ks": [1]}
    summary = run(order, recorder)["summary"]
    assert summary["retention"] == {"held": None, "reason": "evaluation.retention is off"}
    assert report_of(order)["interpolation"]["reason"] == "off: evaluation.interpolation is off"


def test_merged_adapters_lie_on_the_line_too(tmp_path: Path, model: Path, recorder: Recorder) -> None:
    order = order_of(tmp_path / "job", model, learning_rate=1e-3, lora=LoraConfig(r=2, alpha=4))
    run(order, recorder)
    base, tuned, vessel = (Encoder.load(path) for path in (model, Path(order["staging"]), model))
    blend(vessel.backbone, base=base.backbone, tuned=tuned.backbone, alpha=1.0)
    assert vessel.backbone.state_dict().keys() == tuned.backbone.state_dict().keys()
