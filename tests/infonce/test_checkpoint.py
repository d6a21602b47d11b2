"""A run that is broken off after any step and goes on ends with the bits of one that was not."""

import json
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from infonce.checkpoint import WORTH_SECONDS, Checkpoints, newest, num_saved
from infonce.config import Attention, Precision, TrainConfig
from infonce.digest import signed
from infonce.encoder import Encoder
from infonce.errors import CheckpointMismatch, NonFiniteLoss, Stopped
from infonce.mining_config import MiningConfig
from infonce.records import TrainResult
from infonce.train import train
from tests.factories import tiny_encoder, toy_pairs
from tests.infonce.conftest import Watcher
from tests.infonce.forms import FORMS

BASE = TrainConfig(
    n_epochs=2, batch_size=8, learning_rate=1e-3, dropout=0.1, precision=Precision.FLOAT32, attention=Attention.FUSED
)
NUM_STEPS = 6


def run(
    folder: Path, config: TrainConfig, *, checkpoints: Checkpoints | None = None, stop_after: int = 10**6
) -> Encoder:
    """The encoder after a run over toy pairs, which is asked to stop at that question."""
    negatives = 0 if config.loss.num_views else 2
    encoder = tiny_encoder(folder)
    watcher = Watcher(stop_after=stop_after)
    train(encoder, toy_pairs(24, negatives=negatives), config=config, progress=watcher, checkpoints=checkpoints)
    return encoder


@pytest.mark.parametrize("name", FORMS)
def test_a_run_that_is_stopped_ends_with_the_same_bits(name: str, tmp_path: Path) -> None:
    config = replace(BASE, loss=FORMS[name])
    expected = run(tmp_path / "whole", config).fingerprint()
    checkpoints = Checkpoints(folder=tmp_path / "kept")
    with pytest.raises(Stopped):
        run(tmp_path / "first", config, checkpoints=checkpoints, stop_after=7)  # within the third or fourth step
    saved = newest(checkpoints)
    assert saved is not None and saved.step in (2, 3)
    assert run(tmp_path / "second", config, checkpoints=checkpoints).fingerprint() == expected


@pytest.mark.parametrize("name", ["momentum", "learnt temperature"])
def test_queue_slow_encoder_and_temperature_are_those_of_an_undisturbed_run(name: str, tmp_path: Path) -> None:
    config, ends = replace(BASE, loss=FORMS[name]), []
    for name, stop_after in (("whole", 10**6), ("stopped", 7)):
        kept = Checkpoints(folder=tmp_path / name, every_seconds=0.0)
        with suppress(Stopped):
            run(tmp_path / f"{name} a", config, checkpoints=kept, stop_after=stop_after)
        run(tmp_path / f"{name} b", config, checkpoints=kept)
        ends.append(newest(kept))
    whole, stopped = ends
    assert whole is not None and stopped is not None and stopped.step == NUM_STEPS
    assert stopped.tensors.keys() == whole.tensors.keys() and len(whole.tensors) > 50
    assert all(torch.equal(stopped.tensors[name], tensor) for name, tensor in whole.tensors.items())
    fields = ("step", "loss", "learning_rate", "grad_norm", "temperature", "num_tokens")
    seconds = [record["elapsed_seconds"] for record in stopped.curve]
    assert seconds == sorted(seconds) and seconds[0] > 0
    assert [[r[f] for f in fields] for r in stopped.curve] == [[r[f] for f in fields] for r in whole.curve]


def test_a_run_that_is_killed_goes_on_from_any_step(tmp_path: Path) -> None:
    expected = run(tmp_path / "whole", BASE).fingerprint()
    every = Checkpoints(folder=tmp_path / "every", every_seconds=0.0)

    class Killed(Exception):
        pass

    class Killer(Watcher):
        def step(self, record) -> None:
            if record.step == dies_at:
                raise Killed

    for dies_at in range(2, NUM_STEPS + 1):  # each attempt makes one step more than the one before
        with pytest.raises(Killed):
            pairs = toy_pairs(24, negatives=2)
            train(tiny_encoder(tmp_path / str(dies_at)), pairs, config=BASE, progress=Killer(), checkpoints=every)
        saved = newest(every)
        assert saved is not None and saved.step == dies_at - 1
    assert run(tmp_path / "last", BASE, checkpoints=every).fingerprint() == expected


def finished(folder: Path, checkpoints: Checkpoints, watcher: Watcher, config: TrainConfig = BASE) -> TrainResult:
    pairs = toy_pairs(24, negatives=2)
    return train(tiny_encoder(folder), pairs, config=config, progress=watcher, checkpoints=checkpoints)


def test_two_checkpoints_are_kept_and_a_damaged_one_gives_way_to_the_one_before(tmp_path: Path) -> None:
    checkpoints = Checkpoints(folder=tmp_path / "kept", every_seconds=0.0)
    first = Watcher()
    finished(tmp_path / "a", checkpoints, first)
    assert first.saved_steps == [1, 2, 3, 4, 5, 6] and first.damaged_steps == []
    assert sorted(path.name for path in checkpoints.folder.iterdir()) == ["step-000000005", "step-000000006"]
    with (checkpoints.folder / "step-000000006" / "state.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x55")
    watcher = Watcher()
    result = finished(tmp_path / "b", checkpoints, watcher)
    assert (watcher.resumed_after, watcher.damaged_steps) == (5, [6])
    assert [record.step for record in watcher.steps] == [6]
    assert [record.step for record in result.curve] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("damage", ["", "{}", '{"format": 2}', "no json"])
def test_a_checkpoint_without_a_sound_manifest_counts_as_none(damage: str, tmp_path: Path) -> None:
    checkpoints = Checkpoints(folder=tmp_path / "kept", every_seconds=0.0)
    finished(tmp_path / "a", checkpoints, Watcher())
    for folder in checkpoints.folder.iterdir():
        (folder / "manifest.json").write_text(damage)
    assert newest(checkpoints) is None


def test_the_newest_of_earlier_attempts_is_read_and_left_as_it_is(tmp_path: Path) -> None:
    earlier = Checkpoints(folder=tmp_path / "1")
    with pytest.raises(Stopped):
        run(tmp_path / "a", BASE, checkpoints=earlier, stop_after=7)
    before = {path: path.read_bytes() for path in earlier.folder.rglob("*") if path.is_file()}
    watcher = Watcher()
    own = Checkpoints(folder=tmp_path / "2", inherited=[earlier.folder], every_seconds=0.0)
    finished(tmp_path / "b", own, watcher)
    assert watcher.resumed_after == 3 and len(list(own.folder.iterdir())) == 2
    assert {path: path.read_bytes() for path in earlier.folder.rglob("*") if path.is_file()} == before


def rewritten(checkpoints: Checkpoints, change: Callable[[dict[str, Any]], object]) -> None:
    """The facts of the only checkpoint are changed, as if another program had written it."""
    [manifest] = checkpoints.folder.glob("*/manifest.json")
    notes = json.loads(manifest.read_text())
    change(notes["facts"])
    del notes["digest"]
    manifest.write_bytes(signed(json.dumps(notes).encode()))


def test_a_run_that_goes_on_elsewhere_is_told_so_and_one_that_does_not_is_not(tmp_path: Path) -> None:
    checkpoints, same, other = Checkpoints(folder=tmp_path / "kept"), Watcher(), Watcher()
    with pytest.raises(Stopped):
        run(tmp_path / "a", BASE, checkpoints=checkpoints, stop_after=7)
    finished(tmp_path / "b", checkpoints, same)
    rewritten(checkpoints, lambda facts: facts["machine"].update({"torch": "1.0", "device": "abacus"}))
    finished(tmp_path / "c", checkpoints, other)
    said = f"its torch was 1.0 and is {torch.__version__}, its device was abacus and is cpu"
    assert (same.differences, other.differences) == ([], [said])


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    checkpoints = Checkpoints(folder=tmp_path / "kept", every_seconds=0.0)
    finished(tmp_path / "a", checkpoints, Watcher())
    with pytest.raises(CheckpointMismatch, match=r"its learning_rate was 0\.001 and is 0\.002; set it back"):
        finished(tmp_path / "b", checkpoints, Watcher(), replace(BASE, learning_rate=2e-3))
    with pytest.raises(CheckpointMismatch, match="its pairs differs"):
        train(tiny_encoder(tmp_path / "c"), toy_pairs(24), config=BASE, progress=Watcher(), checkpoints=checkpoints)


def test_a_setting_that_an_older_program_did_not_know_is_one_that_was_left_out(tmp_path: Path) -> None:
    checkpoints, watcher = Checkpoints(folder=tmp_path / "kept"), Watcher()
    with pytest.raises(Stopped):
        run(tmp_path / "a", BASE, checkpoints=checkpoints, stop_after=7)
    rewritten(checkpoints, lambda facts: [facts[of].pop("mine") for of in ("config", "config as given")])
    with pytest.raises(CheckpointMismatch, match="belongs to another run: its mine differs; set it back"):
        finished(tmp_path / "b", checkpoints, Watcher(), replace(BASE, mine=MiningConfig()))
    finished(tmp_path / "c", checkpoints, watcher)
    assert watcher.resumed_after == 3


@pytest.mark.parametrize("step_seconds", [1, 7, 50, 130, 400])
@pytest.mark.parametrize("every_seconds", [0, 30, 120])
def test_checkpoints_are_counted_as_they_are_written(step_seconds: int, every_seconds: int) -> None:
    for num_steps in (1, 2, 15, 40, 301):
        written, last = 0, 0
        for now in range(step_seconds, (num_steps + 1) * step_seconds, step_seconds):
            if now - last >= every_seconds:
                written, last = written + 1, now
        written += num_steps * step_seconds - last >= WORTH_SECONDS
        assert num_saved(num_steps, num_steps * step_seconds, every_seconds=every_seconds) == written


def test_what_was_measured_is_taken_from_the_checkpoint_and_the_memory_from_this_attempt(tmp_path: Path) -> None:
    checkpoints = Checkpoints(folder=tmp_path / "kept", every_seconds=0.0)
    open_config = replace(BASE, precision=Precision.AUTO, attention=Attention.AUTO)
    first = finished(tmp_path / "a", checkpoints, Watcher(), open_config)
    again = finished(tmp_path / "b", checkpoints, Watcher(), replace(open_config, max_graph_gb=0.5))
    assert again.choice == first.choice and again.config == replace(first.config, max_graph_gb=0.5)


def test_a_setting_that_was_given_is_never_replaced_in_silence(tmp_path: Path) -> None:
    checkpoints = Checkpoints(folder=tmp_path / "kept", every_seconds=0.0)
    finished(tmp_path / "a", checkpoints, Watcher())
    with pytest.raises(CheckpointMismatch, match="its attention was sdpa and is eager"):
        finished(tmp_path / "b", checkpoints, Watcher(), replace(BASE, attention=Attention.PLAIN))


@contextmanager
def no_room_for(num_bytes: int) -> Iterator[None]:
    """No file may grow beyond that: writing further fails as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("num_bytes", [100, 100_000])
def test_a_full_disk_costs_checkpoints_and_not_the_run(num_bytes: int, tmp_path: Path) -> None:
    checkpoints, watcher = Checkpoints(folder=tmp_path / "kept", every_seconds=0.0), Watcher()
    encoder, pairs = tiny_encoder(tmp_path / "m"), toy_pairs(24, negatives=2)
    with no_room_for(num_bytes):
        train(encoder, pairs, config=BASE, progress=watcher, checkpoints=checkpoints)
    assert encoder.fingerprint() == run(tmp_path / "whole", BASE).fingerprint()
    assert watcher.reasons == ["File too large"] * NUM_STEPS and watcher.saved_steps == []
    assert list(checkpoints.folder.iterdir()) == []


class Impatient(Watcher):
    """Asks to stop after two steps."""

    def stop_requested(self) -> bool:
        return len(self.steps) == 2


def test_a_stop_on_a_full_disk_is_still_a_stop_and_keeps_what_was_saved(tmp_path: Path) -> None:
    checkpoints = Checkpoints(folder=tmp_path / "kept")
    with pytest.raises(Stopped):
        run(tmp_path / "a", BASE, checkpoints=checkpoints, stop_after=7)
    encoder = tiny_encoder(tmp_path / "b")
    with no_room_for(100), pytest.raises(Stopped):
        train(encoder, toy_pairs(24, negatives=2), config=BASE, progress=Impatient(), checkpoints=checkpoints)
    saved = newest(checkpoints)
    assert saved is not None and saved.step == 3


def test_a_loss_that_leaves_the_numbers_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    checkpoints, encoder = Checkpoints(folder=tmp_path / "kept", every_seconds=0.0), tiny_encoder(tmp_path / "m")

    class Spoiler(Watcher):
        def stop_requested(self) -> bool:
            norm = encoder.backbone.embeddings.LayerNorm.weight
            if len(self.steps) == 3 and torch.isfinite(norm).all():  # before the first chunk of the fourth step
                with torch.no_grad():
                    norm.fill_(torch.nan)
            return False

    with pytest.raises(NonFiniteLoss, match="not a finite number at step 4"):
        train(encoder, toy_pairs(24, negatives=2), config=BASE, progress=Spoiler(), checkpoints=checkpoints)
    saved = newest(checkpoints)
    assert saved is not None and saved.step == 3
    assert all(torch.isfinite(tensor).all() for tensor in saved.tensors.values())
    assert run(tmp_path / "on", BASE, checkpoints=checkpoints).fingerprint() == run(tmp_path / "w", BASE).fingerprint()


def test_the_last_steps_of_a_long_run_are_saved_for_what_follows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = Checkpoints(folder=tmp_path / "kept")
    run(tmp_path / "short", BASE, checkpoints=checkpoints)
    assert newest(checkpoints) is None
    monkeypatch.setattr("infonce.checkpoint._WORTH_SECONDS", 0.0)
    whole, watcher, again = (
        run(tmp_path / "long", BASE, checkpoints=checkpoints),
        Watcher(),
        tiny_encoder(tmp_path / "b"),
    )
    train(again, toy_pairs(24, negatives=2), config=BASE, progress=watcher, checkpoints=checkpoints)
    assert (watcher.resumed_after, watcher.steps) == (NUM_STEPS, [])
    assert again.fingerprint() == whole.fingerprint()


def test_a_model_on_a_full_disk_is_an_error_of_the_file_system(encoder: Encoder, tmp_path: Path) -> None:
    with no_room_for(10_000), pytest.raises(OSError, match="File too large"):
        encoder.save(tmp_path / "saved")
