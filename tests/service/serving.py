"""`infonce serve` as a process of a test, and the way to see what is left of it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from service.client import Client
from service.schemas.job_answers import FineTuningJob
from service.schemas.jobs import JobCreate
from tests.end_to_end.processes import until
from tests.factories import tiny_model, toy_pairs


def belonging(mark: str, home: Path) -> dict[int, str]:
    """Process id → command line of all that carries `mark`, or the path of the home, in /proc and is no zombie."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
            environment = (folder / "environ").read_bytes()
            zombie = (folder / "stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
        except OSError:
            continue
        ours = mark.encode() in environment or bytes(home) in command
        if ours and not zombie and int(folder.name) != os.getpid():
            found[int(folder.name)] = command.replace(b"\0", b" ").decode()
    return found


def assert_gone(mark: str, home: Path) -> None:
    """Fails, naming them, if processes are left after a moment."""
    deadline = time.monotonic() + 10
    while left := belonging(mark, home):
        assert time.monotonic() < deadline, f"still there: {left}"
        time.sleep(0.05)


@dataclass(frozen=True, kw_only=True)
class Served:
    """A running `infonce serve` or `demo`; what it starts carries `mark`, or the path of the home, in /proc."""

    process: "subprocess.Popen[str]"
    home: Path
    mark: str
    output: Path

    def processes(self) -> dict[int, str]:
        """Process id → command line of everything that belongs to the stack and is no zombie."""
        return belonging(self.mark, self.home)

    def part(self, word: str, *, seconds: float = 40.0) -> int:
        """The process id of the first part whose command line has the word."""
        return until(
            lambda: min([p for p, line in self.processes().items() if word in line], default=None),
            word,
            seconds=seconds,
        )

    def url(self) -> str:
        """Where it listens, once it says so."""

        def said() -> str | None:
            assert self.process.poll() is None, self.output.read_text()
            return next((w for w in self.output.read_text().split() if w.startswith("http://")), None)

        return until(said, "the line that says where it listens")

    def end(self, number: int) -> int:
        """The exit code after the signal; fails, with all that it said, if that takes longer than 20 s."""
        self.process.send_signal(number)
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it still runs after 20 s; it said:\n{self.output.read_text()}") from None

    def assert_gone(self) -> None:
        """Fails, naming them, if processes are left after a moment."""
        assert_gone(self.mark, self.home)


@contextmanager
def serving(folder: Path, *options: str, **environment: str) -> Iterator[Served]:
    """An `infonce serve` on a free port."""
    with running(folder, "serve", "--port", "0", *options, **environment) as served:
        yield served


@contextmanager
def running(folder: Path, *words: str, **environment: str) -> Iterator[Served]:
    """An `infonce serve` or `demo`, of which nothing is left afterwards."""
    home, mark = folder / "ho me", uuid4().hex
    output = folder / f"{mark}.out"
    command = [sys.executable, "-m", "service.cli", *words, "--home", str(home)]
    with output.open("w") as out:
        process = subprocess.Popen(
            command, env={**os.environ, "MARK": mark, **environment}, stdout=out, stderr=subprocess.STDOUT, text=True
        )
    served = Served(process=process, home=home, mark=mark, output=output)
    try:
        yield served
    finally:
        process.kill()
        process.wait()
        served.assert_gone()


@contextmanager
def training(folder: Path, *, num_steps: int) -> Iterator[tuple[Served, Client, str]]:
    """A stack in which a tiny model has made its first step of a training; the job's id is the last value."""
    tiny_model(folder / "models" / "acme" / "tiny")
    pairs = folder / "pairs.jsonl"
    pairs.write_text("".join(json.dumps({"anchor": p.anchor, "positive": p.positive}) + "\n" for p in toy_pairs(64)))
    hyperparameters = {"n_epochs": num_steps // 32, "batch_size": 2, "max_seq_length": 16}
    contrastive = {"hyperparameters": hyperparameters, "evaluation": {"held_out": 0}}
    with (
        serving(folder, INFONCE_MODELS=str(folder / "models"), INFONCE_THREADS="1") as served,
        Client(served.url()) as client,
    ):
        file = client.upload(pairs, "fine-tune")
        asked = {"model": "acme/tiny", "training_file": file.id, "method": {"contrastive": contrastive}}
        job = client.create_job(JobCreate.model_validate(asked))
        until(lambda: healthy(client, job.id).progress.step, "a first step", seconds=90)
        yield served, client, job.id


def healthy(client: Client, id: str) -> FineTuningJob:
    """The job, which must not have failed."""
    job = client.job(id)
    assert job.error is None, job.error
    return job
