"""Gateway and worker as they are shipped, with a broker that can be ended and a network that can be cut."""

import json
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from service.client import Client
from service.schemas.jobs import JobCreate
from service.store.database import migrate
from service.store.queue import QUEUE_OF
from service.store.records import JobKind
from service.valkey import find_program
from tests.end_to_end.processes import Processes, answers, free_port, until
from tests.factories import tiny_model, toy_pairs
from tests.faults import stack
from tests.faults.proxy import Proxy

QUEUE = QUEUE_OF[JobKind.TRAIN]


@dataclass(frozen=True, kw_only=True)
class RealStack:
    """Its parts; nothing of it knows that it is tested."""

    folder: Path
    processes: Processes
    broker_port: int
    proxy: Proxy
    url: str
    client: Client

    @property
    def environment(self) -> dict[str, str]:
        """Of gateway and worker."""
        return {
            "INFONCE_DATABASE_URL": stack.database_url(self.folder),
            "INFONCE_BROKER_URL": f"redis://127.0.0.1:{self.proxy.port}/0",
            "INFONCE_ARTIFACTS": str(self.folder / "artifacts"),
            "INFONCE_MODELS": str(self.folder / "models"),
            "INFONCE_THREADS": "1",
            "INFONCE_HUB": "off",
            "PYTHONPATH": str(stack.ROOT),
            "TMPDIR": str(self.folder / "tmp"),
        }

    def start_broker(self) -> None:
        """It answers, and has what its last run wrote down."""
        kept = ["--save", "", "--appendonly", "yes", "--appendfsync", "always", "--dir", str(self.folder)]
        command = [str(find_program()), "--port", str(self.broker_port), *kept]
        self.processes.start("broker", command, environment={})
        self.processes.wait_for("broker", lambda: stack.answers(self.broker_port))

    def kill(self, name: str) -> None:
        """That process ends without a chance to say so."""
        process = self.processes.running.pop(name)
        process.kill()
        process.wait()

    def start_worker(self, name: str = "worker") -> int:
        """The process id of a worker that takes jobs."""
        ready = self.folder / f"{name}.ready"
        ready.unlink(missing_ok=True)
        environment = {**self.environment, "INFONCE_READY_FILE": str(ready)}
        worker = self.processes.start(name, ["infonce", "worker", "--queue", QUEUE], environment=environment)
        self.processes.wait_for(name, ready.exists)
        return worker.pid

    def part_of(self, worker: int, word: str) -> int:
        """The process with that word in its command line that the worker, or its pool process, has started."""

        def found() -> int | None:
            pools = stack.children(worker)
            below = [pid for pool in pools for pid in stack.children(pool)]
            return next((pid for pid in (*pools, *below) if word in stack.command_line(pid)), None)

        return until(found, word)

    def submit(self, *, model: str = "acme/tiny", num_steps: int = 32, batch_size: int = 2) -> tuple[str, float]:
        """The id of a training that waits, and how many seconds the request for it took."""
        file = self.client.upload(self.folder / "pairs.jsonl", "fine-tune")
        hyperparameters = {
            "n_epochs": min(num_steps * batch_size // 64, 1_000),
            "batch_size": batch_size,
            "max_seq_length": 16,
        }
        contrastive = {"hyperparameters": hyperparameters, "evaluation": {"held_out": 0}}
        asked = {"model": model, "training_file": file.id, "method": {"contrastive": contrastive}}
        began = time.monotonic()
        job = self.client.create_job(JobCreate.model_validate(asked))
        return job.id, time.monotonic() - began

    def wait_for_attempt(self, id: str, number: int = 1, *, seconds: float = 60.0) -> None:
        """The job has been claimed that often."""
        until(lambda: self.client.job(id).attempt >= number, f"attempt {number} of {id}", seconds=seconds)

    def degraded(self) -> Sequence[str]:
        """What `/readyz` says is away."""
        with urllib.request.urlopen(f"{self.url}/readyz", timeout=5.0) as answer:
            return list(json.load(answer)["degraded"])


@contextmanager
def real_stack(folder: Path) -> Iterator[RealStack]:
    """Broker and gateway, and no worker yet."""
    tiny_model(folder / "models" / "acme" / "tiny")
    (folder / "tmp").mkdir()
    pairs = [{"anchor": pair.anchor, "positive": pair.positive} for pair in toy_pairs(64)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    migrate(stack.database_url(folder))
    port, url = free_port(), f"http://127.0.0.1:{(http_port := free_port())}"
    with Processes(folder) as processes, Proxy(port) as proxy, Client(url) as client:
        real = RealStack(folder=folder, processes=processes, broker_port=port, proxy=proxy, url=url, client=client)
        real.start_broker()
        gateway = ["infonce", "gateway", "--port", str(http_port)]
        processes.start("gateway", gateway, environment=real.environment)
        processes.wait_for("gateway", lambda: answers(f"{url}/readyz"))
        yield real
