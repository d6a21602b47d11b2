"""The real training, killed again and again at steps that nobody chose, ends with the bits of one that was not."""

import hashlib
import json
import os
import random
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

from service.store import catalog, events, files
from service.store.records import FilePurpose, FileRecord, JobKind, JobStatus, Page, new_id
from tests.end_to_end.processes import until
from tests.factories import tiny_model, toy_pairs
from tests.faults.stack import ROOT, children, command_line
from tests.worker.conftest import MODEL, PROJECT, Site

NUM_KILLS = 5
NUM_STEPS = 400
MARGIN = 50
"""Steps between two kills: what the child says is seen a second late, and a step takes 20 to 50 ms."""
CONFIG = {
    "n_epochs": 25, "batch_size": 4, "learning_rate": 1e-3, "dropout": 0.1, "precision": "float32",
    "attention": "sdpa",
}  # fmt: skip


def with_real_child(site: Site) -> Site:
    """Its children train, and save far more often than every two minutes."""
    tiny_model(site.folder / "base" / MODEL)
    settings = replace(site.shop.settings, environment={**os.environ, "PYTHONPATH": str(ROOT)})
    command = (sys.executable, "-m", "tests.faults.real_child")
    return replace(site, shop=replace(site.shop, settings=settings, command=command))


def submit(site: Site) -> str:
    """The id of a training of 400 steps, which may be lost as often as it likes."""
    text = "".join(json.dumps({"anchor": p.anchor, "positive": p.positive}) + "\n" for p in toy_pairs(64))
    file = FileRecord(
        id=new_id("file"), project=PROJECT, created_at=time.time(), filename="pairs.jsonl",
        purpose=FilePurpose.FINE_TUNE, num_bytes=len(text),
        sha256=hashlib.sha256(text.encode()).hexdigest(), counts={"pairs": 64},
    )  # fmt: skip
    site.shop.artifacts.file_path(file.id).write_text(text)
    with site.shop.database.write() as tx:
        files.insert_file(tx, file)
    spec = {
        "model": MODEL, "training_file": file.id, "validation_file": None, "evaluation_file": None, "suffix": "faq",
        "config": CONFIG, "encoder": {"max_seq_length": 32, "device": "cpu"},
        "evaluation": {"held_out": 0, "ks": [10]},
    }  # fmt: skip
    id = site.submit(JobKind.TRAIN, spec)
    with site.shop.database.write() as tx:
        tx.exec_driver_sql("UPDATE jobs SET max_losses = 100")
    return id


def kill_behind(site: Site, id: str, step: int) -> int:
    """The step behind which the child of an attempt died, which is `step` or a little further."""
    attempt = site.begin()

    def reached() -> int:
        assert not attempt.done(), site.job(id)
        return int(site.job(id).progress.get("step", 0))

    until(lambda: reached() >= step, f"step {step}", seconds=60)
    [child] = [pid for pid in children(os.getpid()) if "real_child" in command_line(pid)]
    os.kill(child, signal.SIGKILL)
    attempt.result(20)
    with site.shop.database.write() as tx:  # the pause between two attempts is over
        tx.exec_driver_sql("UPDATE jobs SET run_after = 0")
    return int(site.job(id).progress["step"])


def sha256_of_weights(site: Site, id: str) -> str:
    """Of the model that the job published."""
    assert site.job(id).status is JobStatus.SUCCEEDED, site.job(id).error
    with site.shop.database.read() as tx:
        folder = catalog.get_model(tx, PROJECT, id=site.job(id).result["model"]).folder
    path: Path = site.shop.artifacts.model_path(folder)
    site.shop.artifacts.verify(path)
    return hashlib.sha256((path / "model.safetensors").read_bytes()).hexdigest()


def test_a_training_that_is_killed_five_times_ends_with_the_same_bits(site: Site) -> None:
    seed = random.SystemRandom().randrange(1_000_000)
    draw, site = random.Random(seed), with_real_child(site)
    undisturbed = submit(site)
    site.answer()
    killed, last = submit(site), 1
    for number in range(NUM_KILLS):  # each attempt comes a little further, and the last one has steps left
        last = kill_behind(site, killed, min(last + draw.randint(1, 40), NUM_STEPS - MARGIN * (NUM_KILLS - number)))
    site.answer()
    with site.shop.database.read() as tx:
        found = events.page(tx, killed, page=Page(limit=100, descending=False))[0]
    resumed = [event.data["step"] for event in found if event.type == "resumed"]
    print(f"seed {seed}: killed {NUM_KILLS} times, went on from steps {resumed} of {NUM_STEPS}")
    assert site.job(killed).attempt == NUM_KILLS + 1 and resumed == sorted(resumed) and resumed[-1] > 0
    assert sha256_of_weights(site, killed) == sha256_of_weights(site, undisturbed)
