"""A training in two processes is the training of one; a job that goes on does so with the same bits."""

import json
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from infonce.checkpoint import Checkpoints
from infonce.config import EncoderConfig, Precision, TrainConfig
from infonce.encoder import Encoder
from infonce.errors import RankFailed, Stopped
from infonce.formats import read_pairs
from infonce.meeting import RankOrder
from infonce.ranks import ranks
from infonce.train import StepRecord, TrainResult, train
from tests.end_to_end.processes import until
from tests.factories import tiny_model, toy_pairs
from tests.infonce.conftest import Watcher
from tests.worker.jobs.conftest import Recorder
from worker.failures import describe
from worker.jobs.train import run

NUM_PAIRS = 48
CONFIG = TrainConfig(
    n_epochs=1,
    batch_size=8,
    learning_rate=1e-3,
    precision=Precision.FLOAT32,
    max_chunk_tokens=64,
    max_graph_gb=0.0,
    dropout=0.0,
)
ENCODER = EncoderConfig(max_seq_length=32)
TELLING = """
import sys
from pathlib import Path
from infonce.rank import main, take_part
def part(folder, rank, *, count):
    encoder = take_part(folder, rank, count=count)
    (folder.parent / f"fingerprint-{rank}").write_text(encoder.fingerprint())
main(Path(sys.argv[1]), int(sys.argv[2]), count=int(sys.argv[3]), parent=int(sys.argv[4]), part=part)
"""


class Copying(Watcher):
    """Keeps what lies on the disk during the fifth step: the checkpoints of steps 3 and 4."""

    def __init__(self, checkpoints: Path, copy: Path) -> None:
        super().__init__()
        self._places = checkpoints, copy

    def step(self, record: StepRecord) -> None:
        super().step(record)
        if record.step == 5:
            shutil.copytree(*self._places)


class Interrupting(Recorder):
    """Asks to stop after one step of the training."""

    def stop_requested(self) -> bool:
        return any("loss" in values for values in self.steps)


@dataclass(frozen=True)
class Run:
    """A training in two processes that was not disturbed, and what another process would have found in its middle."""

    order: dict[str, Any]
    encoder: Encoder
    result: TrainResult
    middle: Path


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("processes")
    order = written_order(folder)
    kept = Checkpoints(folder=folder / "kept", every_seconds=0)
    encoder, result = trained(order, CONFIG, count=2, progress=Copying(kept.folder, folder / "middle"), kept=kept)
    return Run(order, encoder, result, folder / "middle")


def written_order(folder: Path) -> dict[str, Any]:
    """Pairs with hard negatives of which some share an anchor, and the order to train on them in two processes."""
    pairs = toy_pairs(NUM_PAIRS, negatives=2)
    pairs[1::4] = [replace(pair, anchor=pairs[0].anchor) for pair in pairs[1::4]]
    lines = [json.dumps({"anchor": p.anchor, "positive": p.positive, "negatives": p.negatives}) for p in pairs]
    (folder / "pairs.jsonl").write_text("\n".join(lines))
    (folder / "staging").mkdir()
    return {
        "kind": "train",
        "job_id": "ftjob-1",
        "attempt": 1,
        "staging": str(folder / "staging"),
        "vectors_root": str(folder / "vectors"),
        "threads": 2,
        "model": {"name": "acme/tiny", "path": str(tiny_model(folder / "model"))},
        "training_file": {"id": "file-1", "path": str(folder / "pairs.jsonl"), "sha256": "0" * 64, "mapping": None},
        "validation_file": None,
        "evaluation_file": None,
        "mining_file": None,
        "config": CONFIG.to_dict(),
        "encoder": ENCODER.to_dict(),
        "evaluation": {"held_out": 0, "ks": [1]},
        "checkpoints": "",
        "inherited": [],
        "processes": 2,
        "ranks": str(folder / "ranks"),
        "finish": str(folder / "finish"),
    }


def trained(
    order: dict[str, Any], config: TrainConfig, *, count: int, progress: Watcher, kept: Checkpoints | None = None
) -> tuple[Encoder, TrainResult]:
    """The encoder after the order's training, without a job around it."""
    model, pairs = Path(order["model"]["path"]), list(read_pairs(Path(order["training_file"]["path"])))
    encoder, place = Encoder.load(model, ENCODER), Path(order["ranks"])
    given = RankOrder(model=model, encoder=ENCODER, config=config, checkpoints=[kept.folder] if kept else [])
    with ranks(given, pairs, count=count, folder=place, command=(sys.executable, "-c", TELLING)):
        result = train(encoder, pairs, config=config, progress=progress, checkpoints=kept)
        if count > 1:
            until((place / "fingerprint-1").exists, "the other rank's end")
    return encoder, result


def test_two_processes_give_the_weights_of_one(done: Run) -> None:
    config = replace(CONFIG, attention=done.result.choice.attention)
    encoder, _ = trained(done.order, config, count=1, progress=Watcher())
    alone = encoder.backbone.state_dict()
    for name, found in done.encoder.backbone.state_dict().items():
        torch.testing.assert_close(found, alone[name], rtol=0, atol=1e-6)


def test_both_processes_end_with_the_same_bits(done: Run) -> None:
    assert (Path(done.order["ranks"]) / "fingerprint-1").read_text() == done.encoder.fingerprint()


def test_a_job_goes_on_with_the_same_bits_where_two_processes_were_and_stops_when_told(
    done: Run, tmp_path: Path
) -> None:
    shutil.copytree(done.middle / "step-000000003", tmp_path / "left" / "step-000000003")
    order = {**done.order, "checkpoints": str(tmp_path / "own"), "inherited": [str(tmp_path / "left")]}
    recorder = Interrupting()
    with pytest.raises(Stopped):
        run(order, recorder)
    [resumed, undisturbed] = (
        json.loads((folder / "step-000000004" / "manifest.json").read_text())
        for folder in (tmp_path / "own", done.middle)
    )
    assert resumed["sha256"] == undisturbed["sha256"] and resumed["facts"]["machine"]["processes"] == 2
    assert "resumed" in recorder.events and not (tmp_path / "own" / "step-000000005").exists()


def test_a_lost_rank_is_a_lost_attempt_and_not_the_users_fault() -> None:
    assert describe(RankFailed("process 1 ended", rank=1)) is None
