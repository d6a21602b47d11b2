"""A real gateway in a process of its own, with an encoder that hashes words and a bell that nobody hears.

`python -m tests.faults.hostile.gateway HOME CHANGES`: CHANGES are the edge's limits that differ, as JSON.
"""

import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2

from infonce.hub import FoundModel, Hub, HubMode
from service.app import Seams, create_app
from service.gateway import serve
from service.settings import EdgeLimits, GatewaySettings
from service.store import keys
from service.store.database import Database, migrate
from service.store.settings import StoreSettings
from tests.end_to_end.processes import until
from tests.service.conftest import BASE, DIMENSIONS, PAIR, WordEncoder, lines

ROOT = Path(__file__).parents[3]
FAULTY = "tiny/faulty"
"""A model whose loading is a fault of our own."""
HUGE = "tiny/huge"
"""A model whose loading meets a number that no check refused."""


@dataclass(frozen=True, kw_only=True)
class Hostile:
    """A gateway that is to be attacked."""

    url: str
    key: str
    home: Path
    process: "subprocess.Popen[bytes]"

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rsplit(":", 1)[1])

    def http(self) -> httpx2.Client:
        """A client with a new connection and the key."""
        headers = {"authorization": f"Bearer {self.key}"}
        return httpx2.Client(base_url=self.url, headers=headers, trust_env=False, timeout=30)

    def rows(self) -> dict[str, int]:
        """How many rows each table has."""
        with closing(sqlite3.connect(f"file:{self.home}/store.db?mode=ro", uri=True)) as database:
            names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            return {name: database.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in names}

    def files(self) -> list[str]:
        """Every file of the artifact root."""
        root = self.home / "artifacts"
        return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())

    def state(self) -> tuple[dict[str, int], list[str]]:
        """What a refused request must leave as it is."""
        return self.rows(), self.files()

    def memory(self) -> tuple[float, float]:
        """What the process holds in memory and what it held at most, in MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = dict(re.findall(r"(VmRSS|VmHWM):\s+(\d+) kB", status))
        return int(found["VmRSS"]) / 1_000, int(found["VmHWM"]) / 1_000


@contextmanager
def attacked(home: Path, **changes: float) -> Iterator[Hostile]:
    """A gateway with a file of pairs and a collection; the edge's limits are changed as asked."""
    command = [sys.executable, "-m", __name__, str(home), json.dumps(changes)]
    with (home / "log.txt").open("w") as log:  # a pipe that nobody empties would stop the gateway at the access log
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
    try:
        said = until(lambda: _first_line(home, process), "the line that says where it listens").split()
        yield Hostile(url=said[-1], key=(home / "key").read_text(), home=home, process=process)
    finally:
        process.kill()
        process.wait()


def _first_line(home: Path, process: "subprocess.Popen[bytes]") -> str | None:
    text = (home / "log.txt").read_text()
    assert process.poll() is None, text
    return next((line for line in text.splitlines() if line.startswith("infonce listens")), None)


def prepare(hostile: Hostile) -> None:
    """The collection `pets` holds vectors of the caller's own; there is a file of 40 pairs."""
    with hostile.http() as http:
        made = http.post("/v1/collections", json={"name": "pets", "dimension": DIMENSIONS})
        assert made.status_code == 201, made.text
        content = lines([{**PAIR, "query": f"which pet barks {number}"} for number in range(40)])
        kept = http.post("/v1/files", files={"file": ("pairs.jsonl", content)}, data={"purpose": "fine-tune"})
        assert kept.status_code == 200, kept.text


def load(found: FoundModel) -> WordEncoder:
    """The encoder that hashes words."""
    if found.name == FAULTY:
        raise ZeroDivisionError
    if found.name == HUGE:
        raise OverflowError
    return WordEncoder()


async def resolve(host: str, port: int) -> list[str]:
    """No name leads out of this machine."""
    raise OSError(f"{host} is not known")


def main(home: Path, changes: Mapping[str, Any]) -> None:
    """Serve until the end, with a key that lies in the home."""
    url = f"sqlite:///{home / 'store.db'}"
    migrate(url)
    config = {"hidden_size": DIMENSIONS, "max_position_embeddings": 64, "model_type": "bert"}
    for name in (BASE, FAULTY, HUGE):
        folder = home / "models" / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps(config))
    settings = GatewaySettings(
        store=StoreSettings(database_url=url, artifacts=home / "artifacts"),
        hub=Hub(models_root=home / "models", mode=HubMode.OFF),
        port=0,
        max_upload_bytes=4 << 20,
        edge=replace(EdgeLimits(), **changes),
    )
    database = Database.open(url)
    with database.write() as tx:
        _, key = keys.create(tx, "default", name="test", now=0.0)
    database.close()
    (home / "key").write_text(key)
    app = create_app(settings, Seams(ring=lambda job, queue: None, ping=lambda: True, load=load, resolve=resolve))
    serve(app, settings, on_listening=lambda url: print(f"infonce listens on {url}", flush=True))


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
