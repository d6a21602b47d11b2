"""Blocks that a user adapts (`sh`, and the unit of systemd) run too: as printed, in other places and smaller."""

import configparser
import json
import re
import shlex
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

import httpx2
import numpy as np
import pytest

from infonce.hub import MINILM
from service.client import Client
from service.valkey import find_program
from tests.end_to_end.pages import ROOT
from tests.end_to_end.processes import COMMANDS, Processes, answers, free_port, until
from tests.factories import tiny_model, toy_pairs

INSTALLING = {"README.md", "docs/index.md"}
"""Their lines install everything: `.ci/run` does the one, tests/end_to_end/test_demo.py runs what the other starts."""
SMALL = {
    "--pairs": "8",
    "--batch-size": "4",
    "--max-length": "32",
    "--rounds": "1",
    "--queries": "64",
    "--vectors": "1100",
    "--dimensions": "16",
    "--texts": "257",
    "--written": "50",
}
OF_SEARCH = ("--rounds", "1", "--queries", "64")
MORE = {
    "train": ("--peer", "default", "--dropout", "0"),
    "search": OF_SEARCH,
    "collections": (*OF_SEARCH, "--written", "50", "--texts", "257"),
}
"""What a line says besides, where it does not say it: the defaults take minutes."""


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


SERVE, PARTS = blocks("docs/deployment.md", "sh")
BENCHES = [line for block in blocks("docs/benchmarks.md", "sh") for line in block.splitlines()]


def test_no_block_is_forgotten() -> None:
    pages = ["README.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
    assert {page for page in pages if blocks(page, "sh")} == {"docs/deployment.md", "docs/benchmarks.md", *INSTALLING}
    assert [page for page in pages if blocks(page, "ini")] == ["docs/deployment.md"]


def opened(port: int, key: str) -> bool:
    """Whether the models of a gateway are told to who has the key, and to nobody else."""
    url = f"http://127.0.0.1:{port}/v1/models"
    with_key = httpx2.get(url, headers={"authorization": f"Bearer {key}"}, trust_env=False)
    return (with_key.status_code, httpx2.get(url, trust_env=False).status_code) == (200, 401)


def made_key(folder: Path, environment: Mapping[str, str], *words: str) -> str:
    command = [str(COMMANDS / "infonce"), "keys", "create", *words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()


def served_by(folder: Path, line: str, *, home: Path) -> None:
    """The line serves that home to who has a key, and ends well when it is told to."""
    key, port = made_key(folder, {"HOME": str(folder)}, "--home", str(home)), free_port()
    words = [word for word in shlex.split(line) if word != "8000"]
    words = [*words, str(port)] if "--port" in words else [*words, "--port", str(port)]
    with Processes(folder) as processes:
        processes.start("serve", words, environment={})
        processes.wait_for("serve", lambda: answers(f"http://127.0.0.1:{port}/readyz"), seconds=60)
        assert opened(port, key)
        assert processes.end("serve", seconds=60) == 0


def test_one_machine_is_served_as_it_is_printed(tmp_path: Path) -> None:
    served_by(tmp_path, SERVE.strip(), home=tmp_path / "home")


def test_the_unit_of_systemd_serves_and_ends_in_its_time(tmp_path: Path) -> None:
    unit = configparser.ConfigParser()
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(blocks("docs/deployment.md", "ini")[0])
    service = unit["Service"]
    home = tmp_path / "var"
    line = service["ExecStart"].replace("/opt/infonce/.venv/bin", str(COMMANDS)).replace("/var/lib/infonce", str(home))
    assert str(home) in line and service.getint("TimeoutStopSec") >= 60
    served_by(tmp_path, line, home=home)


def test_parts_on_their_own_run_as_they_are_printed(tmp_path: Path) -> None:
    broker_port, port = free_port(), free_port()
    places = {
        "postgresql+psycopg://infonce:…@db/infonce": f"sqlite:///{tmp_path}/infonce.db",
        "redis://:…@valkey:6379/0": f"redis://127.0.0.1:{broker_port}/0",
        "/srv/infonce": str(tmp_path / "artifacts"),
    }
    block = PARTS
    for printed, ours in places.items():
        assert printed in block
        block = block.replace(printed, ours)
    lines = block.splitlines()
    exported = [line.removeprefix("export ").partition("=") for line in lines if line.startswith("export ")]
    environment = {name: value for name, _, value in exported} | {"INFONCE_PORT": str(port), "HOME": str(tmp_path)}
    migrate, gateway, worker = (shlex.split(line) for line in lines if not line.startswith("export "))
    with Processes(tmp_path) as processes:
        processes.start("broker", [str(find_program()), "--port", str(broker_port), "--save", ""], environment={})
        assert processes.start("migrate", migrate, environment=environment).wait(60) == 0
        processes.running.pop("migrate")
        key = made_key(tmp_path, environment)
        processes.start("gateway", gateway, environment=environment)
        processes.start("worker", worker, environment=environment)
        processes.wait_for("gateway", lambda: answers(f"http://127.0.0.1:{port}/readyz"), seconds=60)
        assert opened(port, key)
        with Client(f"http://127.0.0.1:{port}", api_key=key) as client:
            [found] = until(lambda: list(client.workers()), "the worker says that it is there", seconds=60)
        assert found.queues == ["train"]
        assert [processes.end(name, seconds=60) for name in ("worker", "gateway")] == [0, -signal.SIGTERM]


@pytest.fixture(scope="module")
def bench_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the files lie that the lines name, and a tiny model that bears the name of MiniLM."""
    folder = tmp_path_factory.mktemp("bench")
    pairs = toy_pairs(12)
    tiny_model(folder / "models" / MINILM)
    lines = (json.dumps({"query": pair.anchor, "positive": pair.positive}) + "\n" for pair in pairs)
    (folder / "pairs.jsonl").write_text("".join(lines), "utf-8")
    (folder / "judged").mkdir()
    for name, side in (("corpus", "d"), ("queries", "q")):
        rows = (json.dumps({"id": f"{side}{n}", "text": pair.positive}) + "\n" for n, pair in enumerate(pairs))
        (folder / "judged" / f"{name}.jsonl").write_text("".join(rows), "utf-8")
    (folder / "judged" / "qrels.tsv").write_text("".join(f"q{n}\td{n}\t1\n" for n in range(len(pairs))), "utf-8")
    np.save(folder / "vectors.npy", np.random.default_rng(0).standard_normal((1_300, 16)).astype(np.float32))
    return folder


@pytest.mark.parametrize("line", BENCHES)
def test_a_benchmark_runs_as_it_is_printed_with_smaller_numbers(line: str, bench_folder: Path) -> None:
    words = shlex.split(line)
    more = MORE[words[2]]
    words += [word for pair in zip(more[::2], more[1::2], strict=True) if pair[0] not in words for word in pair]
    small = [SMALL.get(before, word) for before, word in zip(["", *words], words, strict=False)]
    environment = {"PATH": str(COMMANDS), "HOME": str(bench_folder), "INFONCE_MODELS": str(bench_folder / "models")}
    done = subprocess.run(
        small, cwd=bench_folder, env=environment, capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, f"{small}\n{done.stdout}\n{done.stderr}"
