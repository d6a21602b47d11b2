"""The service of a benchmark ends with the benchmark, whatever ends that."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.end_to_end.processes import until
from tests.factories import tiny_model, toy_pairs
from tests.worker.test_process import runs

SECONDS = 120.0
"""Until a benchmark has imported torch, and its service everything else, on a machine that has other work."""
STACK = """
import sys, signal
from pathlib import Path
from infonce.bench.gateway import Place, stack_at
with stack_at(Place(home=Path(sys.argv[1]), model=Path(sys.argv[2]), threads=1)) as served:
    print(served.process, flush=True)
    signal.pause()
"""


def below(pid: int) -> set[int]:
    """The processes that it has started, and theirs."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended
            continue
    found, newest = set[int](), {pid}
    while newest := {child for child, parent in parents.items() if parent in newest}:
        found |= newest
    return found


def gateway_of(pid: int) -> int | None:
    """The gateway among the processes below, once it is one and no launcher any more."""
    for one in below(pid):
        words = Path(f"/proc/{one}/cmdline").read_bytes().split(b"\0") if runs(one) else []
        if b"gateway" in words and b"service.launch" not in words:
            return one
    return None


@contextmanager
def started(folder: Path, *command: object) -> Iterator["subprocess.Popen[str]"]:
    """A process that keeps its temporary files in the folder."""
    environment = {**os.environ, "TMPDIR": str(folder)}
    words = [sys.executable, *map(str, command)]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_gateway_ends_with_its_benchmark(tmp_path: Path, number: signal.Signals) -> None:
    lines = (json.dumps({"query": pair.anchor, "positive": pair.positive}) + "\n" for pair in toy_pairs(12))
    (tmp_path / "pairs.jsonl").write_text("".join(lines), encoding="utf-8")
    model = tiny_model(tmp_path / "tiny")
    words = ("bench", "embeddings", tmp_path / "pairs.jsonl", "--model", model, "--calls", 1_000, "--rounds", 1_000)
    with started(tmp_path, "-m", "service.cli", *words) as process:

        def found() -> int | None:
            assert process.poll() is None, (tmp_path / "log").read_text()
            return gateway_of(process.pid)

        gateway = until(found, "the benchmark has a gateway", seconds=SECONDS)
        process.send_signal(number)
        until(lambda: not runs(gateway), "the end of the gateway", seconds=40)
        process.wait(40)
    left = list(tmp_path.glob("infonce-bench-*"))
    assert left == [] or number is signal.SIGKILL, left


def test_a_whole_service_ends_with_a_benchmark_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    with started(tmp_path, "-c", STACK, tmp_path / "home", tiny_model(tmp_path / "tiny")) as process:
        assert process.stdout is not None
        gateway = int(process.stdout.readline())
        service = below(process.pid)
        assert gateway in service and len(service) >= 6  # what watches them, a broker, a gateway and three workers
        process.kill()
        until(lambda: not any(map(runs, service)), "the end of the whole service", seconds=20)
