"""A gateway over SQLite in `tmp_path`, with a recording doorbell and an encoder that hashes words."""

import hashlib
import json
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
import uvicorn
from numpy.typing import NDArray
from starlette.testclient import TestClient

from infonce.config import Side
from infonce.hub import FoundModel, Hub, HubMode
from infonce.tokens import TokenizedTexts
from service.app import Seams, create_app
from service.dependencies import Wiring
from service.gateway import address, server_config
from service.settings import GatewaySettings
from service.store import keys
from service.store.database import migrate
from service.store.settings import StoreSettings
from tests.service.documented import check_answer

BASE = "tiny/base"
DIMENSIONS = 8
PAIR = {"query": "which pet barks", "positive": "the dog barks"}


class WordEncoder:
    """A text is the sum of its words' random directions, so that texts which share words are near.

    Other `weights` are other directions.
    """

    chunk_tokens = 64
    num_bytes = 1

    def __init__(self, dimensions: int = DIMENSIONS, *, weights: str = "words") -> None:
        self._dimensions = dimensions
        self._weights = weights

    @classmethod
    def of_model(cls, name: str) -> "WordEncoder":
        """Every model but the one that is there from the start has weights of its own."""
        return cls(weights="words" if name == BASE else f"words of {name}")

    def prompt(self, side: Side) -> str:
        return ""

    def tokenize(self, texts: Sequence[str]) -> TokenizedTexts:
        """A token a word, whose id is a hash of it."""
        return TokenizedTexts.joined([np.array([_hash(word) for word in text.split()], np.int32) for text in texts])

    def encode_tokens(self, tokens: TokenizedTexts) -> NDArray[np.float32]:
        rows = [tokens.row(number) for number in range(len(tokens.lengths))]
        sums = np.stack([np.sum([self._direction(int(id)) for id in row], axis=0) for row in rows])
        unit: NDArray[np.float32] = (sums / np.linalg.norm(sums, axis=1, keepdims=True)).astype(np.float32)
        return unit

    def encode(self, texts: Sequence[str], *, side: Side) -> NDArray[np.float32]:
        return self.encode_tokens(self.tokenize([self.prompt(side) + text for text in texts]))

    def fingerprint(self) -> str:
        return self._weights

    def _direction(self, id: int) -> NDArray[np.float64]:
        return np.random.default_rng([id, _hash(self._weights)]).standard_normal(self._dimensions)


def _hash(word: str) -> int:
    return int.from_bytes(hashlib.sha256(word.encode()).digest()[:4]) >> 1


@dataclass
class Bell:
    """Remembers who was rung, and answers pings as told."""

    rung: list[tuple[str, str]] = field(default_factory=list)
    up: bool = True

    def ring(self, job_id: str, queue: str) -> None:
        self.rung.append((job_id, queue))

    def ping(self) -> bool:
        return self.up


@dataclass
class Gateway:
    """A served application and what stands behind it."""

    http: TestClient
    parts: Wiring
    bell: Bell
    loaded: list[str]
    """The models that were loaded, in order."""

    def upload(self, content: bytes, *, purpose: str = "fine-tune", name: str = "pairs.jsonl") -> httpx2.Response:
        return self.http.post("/v1/files", files={"file": (name, content)}, data={"purpose": purpose})

    def pairs(self, count: int = 40) -> str:
        """The id of an uploaded file of that many pairs."""
        answer = self.upload(lines([{**PAIR, "query": f"which pet barks {n}"} for n in range(count)]))
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    def order(self, **body: Any) -> httpx2.Response:
        return self.http.post("/v1/fine_tuning/jobs", json={"model": BASE, **body})

    def artifacts(self) -> list[str]:
        """Every file below the artifact root but its layout mark."""
        root = self.parts.artifacts.root
        return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file() and p.name != ".layout")


@dataclass(frozen=True)
class Live:
    """A gateway behind a real socket."""

    url: str
    key: str
    parts: Wiring


def lines(rows: Sequence[object]) -> bytes:
    """JSON Lines."""
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def problem(answer: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    """The body of an error answer, after it proved to be the contract's."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["type"] == f"urn:infonce:error:{code}" and body["status"] == status
    assert body["error"]["code"] == code and body["error"]["message"] == body["detail"]
    assert body["request_id"] == answer.headers["x-request-id"]
    return body


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database to copy: Alembic takes half a second."""
    path = tmp_path_factory.mktemp("database") / "store.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def settings(tmp_path: Path, empty_database: Path) -> GatewaySettings:
    """Settings of a gateway with one base model, whose folder holds no weights."""
    shutil.copy(empty_database, tmp_path / "store.db")
    folder = tmp_path / "models" / BASE
    folder.mkdir(parents=True)
    config = {"hidden_size": DIMENSIONS, "max_position_embeddings": 64, "model_type": "bert"}
    (folder / "config.json").write_text(json.dumps(config))
    store = StoreSettings(database_url=f"sqlite:///{tmp_path / 'store.db'}", artifacts=tmp_path / "artifacts")
    return GatewaySettings(store=store, hub=Hub(models_root=tmp_path / "models", mode=HubMode.OFF))


@pytest.fixture
def serve(settings: GatewaySettings) -> Iterator[Callable[..., Gateway]]:
    """Starts a gateway, its settings changed as asked; all of them are stopped in the end."""
    running: list[TestClient] = []

    def start(*, raise_server_exceptions: bool = True, **changes: Any) -> Gateway:
        bell, loaded = Bell(), []

        def load(found: FoundModel) -> WordEncoder:
            loaded.append(found.name)
            return WordEncoder.of_model(found.name)

        app = create_app(replace(settings, **changes), Seams(ring=bell.ring, ping=bell.ping, load=load))
        http = TestClient(app, raise_server_exceptions=raise_server_exceptions)
        http.event_hooks = {"response": [check_answer]}
        http.__enter__()
        running.append(http)
        return Gateway(http=http, parts=app.state.wiring, bell=bell, loaded=loaded)

    yield start
    for http in running:
        http.__exit__()


@pytest.fixture
def gateway(serve: Callable[..., Gateway]) -> Gateway:
    """A gateway on loopback that has no key."""
    return serve()


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], None]:
    """Returns as soon as the condition holds, and fails the test after ten seconds."""

    def wait(condition: Callable[[], bool]) -> None:
        end = time.monotonic() + 10.0
        while not condition():
            assert time.monotonic() < end, "the condition did not come true in time"
            time.sleep(0.01)

    return wait


@pytest.fixture
def live(settings: GatewaySettings, until: Callable[..., None]) -> Iterator[Live]:
    """A gateway behind a real socket, that needs a key."""
    bell = Bell()
    app = create_app(settings, Seams(ring=bell.ring, ping=bell.ping, load=lambda _: WordEncoder()))
    parts: Wiring = app.state.wiring
    with parts.database.write() as tx:
        _, key = keys.create(tx, "default", name="live", now=parts.clock())
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(server_config(app, settings.edge))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    until(lambda: server.started)
    yield Live(url=address(listener), key=key, parts=parts)
    server.should_exit = True
    thread.join()
    listener.close()
