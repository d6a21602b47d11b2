"""The operations of a home that have to be whole or not there: through the gateway, the worker and the library."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from starlette.testclient import TestClient

from infonce.checkpoint import Checkpoints, newest, save
from infonce.hub import Hub, HubMode
from service.app import Seams, create_app
from service.settings import GatewaySettings
from service.store.artifacts import Artifacts
from service.store.database import Database
from service.store.queue import QUEUE_OF
from service.store.records import JobKind
from service.store.settings import StoreSettings
from tests.faults.failpoints import Counter, armed
from tests.faults.homes import PAIR, Home
from tests.worker.conftest import CHILD
from worker.lifecycle import answer
from worker.settings import WorkerSettings
from worker.workshop import Workshop

BASE = "acme/tiny"
ALLOWED = (200, 507)
"""What an operation may answer on a full disk."""


def write_base(home: Path) -> None:
    """The home has a base model by its side, without weights."""
    (home / "base" / BASE).mkdir(parents=True)
    config = {"hidden_size": 8, "max_position_embeddings": 64, "model_type": "bert"}
    (home / "base" / BASE / "config.json").write_text(json.dumps(config))


@contextmanager
def gateway(home: Path) -> Iterator[TestClient]:
    """The home's gateway."""
    store = StoreSettings(database_url=Home.open(home).url, artifacts=home / "artifacts")
    settings = GatewaySettings(store=store, hub=Hub(models_root=home / "base", mode=HubMode.OFF))
    app = create_app(settings, Seams(ring=lambda job_id, queue: None, ping=lambda: True))
    with TestClient(app, raise_server_exceptions=False) as http:
        yield http


def upload(home: Path, counter: Counter) -> None:
    """A second file."""
    with gateway(home) as http, armed(counter):
        files, data = {"file": ("more.jsonl", PAIR + PAIR)}, {"purpose": "fine-tune"}
        status = http.post("/v1/files", files=files, data=data).status_code
    assert status in ALLOWED, status


def delete(home: Path, counter: Counter) -> None:
    """The first file is gone."""
    with gateway(home) as http:
        id = http.get("/v1/files").json()["data"][-1]["id"]
        with armed(counter):
            status = http.delete(f"/v1/files/{id}").status_code
    assert status in ALLOWED, status


def complete_upload(home: Path, counter: Counter) -> None:
    """The only upload that waits has become a file."""
    [folder] = (home / "artifacts" / "uploads").iterdir()
    with gateway(home) as http, armed(counter):
        body = {"part_ids": sorted(path.name for path in folder.iterdir())}
        status = http.post(f"/v1/uploads/{folder.name}/complete", json=body).status_code
    assert status in ALLOWED, status


def delete_model(home: Path, counter: Counter) -> None:
    """The newest model is gone."""
    with gateway(home) as http:
        [*_, model] = [found for found in http.get("/v1/models").json()["data"] if found["kind"] != "base"]
        with armed(counter):
            status = http.delete(f"/v1/models/{model['id']}").status_code
    assert status in ALLOWED, status


def submit(home: Path, counter: Counter) -> None:
    """A job that trains on the first file."""
    with gateway(home) as http:
        order = {"model": BASE, "training_file": http.get("/v1/files").json()["data"][-1]["id"]}
        with armed(counter):
            status = http.post("/v1/fine_tuning/jobs", json=order).status_code
    assert status in ALLOWED, status


def publish_model(home: Path, counter: Counter) -> None:
    """The job that waits in `train` has been worked on."""
    work(home, "train", script="finish_training()", counter=counter)


def publish_version(home: Path, counter: Counter) -> None:
    """The job that waits in `light` has been worked on."""
    earlier = min((home / "artifacts" / "collections").glob("col-*/ver-*"))
    work(home, "light", script=INDEXING.format(folder=str(earlier)), counter=counter)


def publish_mined(home: Path, counter: Counter) -> None:
    """The mining job that waits in `medium` has been worked on."""
    work(home, QUEUE_OF[JobKind.MINE], script=MINING, counter=counter)


def publish_evaluation(home: Path, counter: Counter) -> None:
    """The evaluation that waits in `medium` has been worked on."""
    work(home, QUEUE_OF[JobKind.EVALUATE], script=EVALUATING, counter=counter)


MINING = """
(staging / "mined.jsonl").write_bytes(b'{"anchor": "a", "positive": "b", "negatives": ["c"]}\\n')
say("done", result={"counts": {"pairs": 1, "negatives": 1}, "mining": {"mined": 1}})
"""

EVALUATING = """
(staging / "1-win.jsonl").write_bytes(b"{}\\n")
say("done", result={"summary": {"num_queries": 1}})
"""

INDEXING = """
import shutil  # FAISS takes a second to import, and the documents are those of the index that is there
shutil.copytree({folder!r}, staging, dirs_exist_ok=True)
index = {{"type": "flat", "prefix": None}}
say("done", result={{"count": 3, "dimension": 4, "fingerprint": None, "index": index, "reused": 0, "embedded": 0}})
"""


def publish_export(home: Path, counter: Counter) -> None:
    """The export of a collection that waits in `light` has been worked on."""
    work(home, QUEUE_OF[JobKind.EXPORT], script=EXPORTING, counter=counter)


def import_collection(home: Path, counter: Counter) -> None:
    """The collection of the file that lies in the home."""
    sent = {"file": ("c.tar", (home / "collection.tar").read_bytes())}
    with gateway(home) as http, armed(counter):
        status = http.post("/v1/collections/import", files=sent).status_code
    assert status in (201, *ALLOWED), status


EXPORTING = """
assert len((Path(order["parts"]) / "documents.jsonl").read_text().splitlines()) == 3
(staging / "collection.tar").write_bytes(b"tar")
say("done", result={"documents": 3, "brought": 3, "vectors": 3})
"""


def work(home: Path, queue: str, *, script: str, counter: Counter) -> None:
    """One doorbell of the worker, whose child runs `script`."""
    there = Home.open(home)
    store = StoreSettings(database_url=there.url, artifacts=home / "artifacts")
    environment = dict(os.environ)
    shop = Workshop(
        settings=WorkerSettings(store=store, threads=1, environment=environment, drain_path=home / "drain"),
        database=Database.open(there.url),
        artifacts=Artifacts(home / "artifacts"),
        hub=Hub(models_root=home / "base", mode=HubMode.OFF),
        command=(sys.executable, "-c", CHILD + script),
    )
    with armed(counter):
        answer(lambda: shop, queue)


class State:
    """What a checkpoint asks of a run."""

    def __init__(self, step: int) -> None:
        self._step = step

    def tensors(self) -> dict[str, torch.Tensor]:
        """Their values tell the step."""
        return {"weights": torch.full((64,), float(self._step))}


def save_checkpoint(home: Path, counter: Counter) -> None:
    """The step after the newest saved one is saved."""
    kept = Checkpoints(folder=home / "checkpoints")
    saved = newest(kept)
    step = 1 if saved is None else saved.step + 1
    with armed(counter):
        try:
            save(kept, State(step), curve=[{"step": n} for n in range(step)], facts={"seed": 1})  # type: ignore[arg-type]
        except OSError:
            assert counter.injected
