"""The commands and the environment of docker-compose.yml, started as processes: no Docker engine runs here."""

import base64
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import httpx2
import pytest
import redis
import yaml
from redis.backoff import NoBackoff
from redis.retry import Retry

from service.valkey import find_program
from tests.end_to_end.processes import Processes, answers, free_port, until

ROOT = Path(__file__).parents[2]
PASSWORD = "a-password-of-the-test"
KEY = "inf_0a1b2c3d_" + "4e5f" * 16


def read_compose(variables: Mapping[str, str]) -> dict[str, Any]:
    """docker-compose.yml with `${NAME}`, `${NAME:-default}` and `${NAME:?message}` filled in."""

    def fill(match: re.Match[str]) -> str:
        name, mark, rest = match.group("name", "mark", "rest")
        assert name in variables or mark == ":-", f"{name} is needed: {rest}"
        return variables.get(name, rest)

    text = (ROOT / "docker-compose.yml").read_text("utf-8")
    compose: dict[str, Any] = yaml.safe_load(re.sub(r"\$\{(?P<name>\w+)(?P<mark>:[-?])?(?P<rest>[^}]*)\}", fill, text))
    return compose


COMPOSE = read_compose({"INFONCE_BROKER_PASSWORD": PASSWORD})
SERVICES: dict[str, dict[str, Any]] = {
    name: service for name, service in COMPOSE["services"].items() if "profiles" not in service
}


@dataclass(frozen=True, kw_only=True)
class Stack:
    """The services as processes of this machine, and what stands for the containers' names, ports and folders."""

    processes: Processes
    gateway_port: int
    broker_port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.gateway_port}"

    def broker(self, password: str | None = PASSWORD) -> redis.Redis:
        """A client of the broker that says at once what is wrong."""
        return redis.Redis(port=self.broker_port, password=password, retry=Retry(NoBackoff(), 0))

    def here(self, text: str) -> str:
        """A word of a command or an environment as it must read outside a container."""
        folder = self.processes.folder
        for inside, outside in (
            ("valkey:6379", f"127.0.0.1:{self.broker_port}"),
            ("/run/secrets/", f"{folder}/secrets/"),
            ("/data", f"{folder}/data"),
        ):
            text = text.replace(inside, outside)
        return str(self.gateway_port) if text == "8000" else text

    def start(self, name: str) -> None:
        """Starts one service and waits for what the others wait for."""
        words = [self.here(word) for word in SERVICES[name]["command"]]
        environment = {key: self.here(value) for key, value in SERVICES[name].get("environment", {}).items()}
        if name == "valkey":
            words[0] = str(find_program())
            words += [
                "--port",
                str(self.broker_port),
                "--bind",
                "127.0.0.1",
                "--dir",
                str(self.processes.folder / "aof"),
            ]
        process = self.processes.start(name, words, environment=environment)
        if name == "migrate":
            assert process.wait(30) == 0, self.processes.log(name).read_text()
            del self.processes.running[name]
        elif name == "valkey":
            self.processes.wait_for(name, self.broker_answers)
        elif name == "gateway":
            self.processes.wait_for(name, lambda: answers(f"{self.url}/readyz"))

    def broker_answers(self) -> bool:
        """What the healthcheck asks: PING, with the password."""
        try:
            with self.broker() as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Every service of the default profile, in the order of `depends_on`."""
    folder = tmp_path_factory.mktemp("compose")
    for name in ("data", "secrets", "aof"):
        (folder / name).mkdir()
    (folder / "secrets/infonce_api_key").write_text(KEY + "\n")
    order = TopologicalSorter({name: service.get("depends_on", {}) for name, service in SERVICES.items()})
    with Processes(folder) as processes:
        stack = Stack(processes=processes, gateway_port=free_port(), broker_port=free_port())
        for name in order.static_order():
            stack.start(name)
        yield stack


def test_the_gateway_is_ready_with_its_broker(stack: Stack) -> None:
    ready = until(lambda: httpx2.get(f"{stack.url}/readyz").json(), "an answer")
    assert not ready.get("degraded"), ready


def test_a_request_without_the_key_is_refused(stack: Stack) -> None:
    refused = httpx2.get(f"{stack.url}/v1/models")
    assert refused.status_code == 401
    assert refused.json()["error"]["code"]


def test_the_secret_file_holds_the_first_key(stack: Stack) -> None:
    models = httpx2.get(f"{stack.url}/v1/models", headers={"Authorization": f"Bearer {KEY}"})
    assert models.status_code == 200
    assert "sentence-transformers/all-MiniLM-L6-v2" in [model["id"] for model in models.json()["data"]]


def test_documents_reach_an_index_through_broker_and_worker(stack: Stack) -> None:
    with httpx2.Client(base_url=stack.url, headers={"Authorization": f"Bearer {KEY}"}) as client:
        assert client.post("/v1/collections", json={"name": "c", "model": None, "dimension": 2}).is_success
        vectors = {"east": b"\0\0\x80?\0\0\0\0", "north": b"\0\0\0\0\0\0\x80?"}  # (1, 0) and (0, 1)
        documents = [{"id": id, "vector": base64.b64encode(vector).decode()} for id, vector in vectors.items()]
        documents += [{"id": f"west {n}", "vector": [-1, 0]} for n in range(1_000)]  # so many are worth an index
        assert client.post("/v1/collections/c/documents", json={"documents": documents}).status_code == 200
        until(lambda: client.get("/v1/collections/c").json()["active_version"], "the index", seconds=60)
        hits = client.post("/v1/collections/c/query", json={"vector": [0.1, 0.9], "k": 2}).json()["hits"]
    assert [hit["id"] for hit in hits] == ["north", "east"]


def test_the_broker_keeps_a_log_and_asks_for_the_password(stack: Stack) -> None:
    with stack.broker() as client:
        assert client.config_get("appendonly") == {"appendonly": "yes"}
    assert list((stack.processes.folder / "aof").rglob("*.aof"))
    with stack.broker(password=None) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()


def test_every_service_is_hardened_and_only_the_gateway_listens_outside() -> None:
    for name, service in COMPOSE["services"].items():
        assert service["read_only"] and service["init"] and service["cap_drop"] == ["ALL"], name
        assert bool(service.get("ports")) == (name == "gateway") == ("outside" in service["networks"]), name
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    assert list(COMPOSE["volumes"]) == ["data"]


def test_the_gpu_worker_runs_the_command_of_the_cpu_worker() -> None:
    gpu, cpu = (COMPOSE["services"][name] for name in ("worker-gpu", "worker-train"))
    assert gpu["profiles"] == ["gpu"]
    assert (gpu["command"], gpu["environment"]) == (cpu["command"], cpu["environment"])


def test_every_service_that_stays_is_still_there(stack: Stack) -> None:
    staying = {name for name, service in SERVICES.items() if service.get("restart") == "unless-stopped"}
    assert {name for name, process in stack.processes.running.items() if process.poll() is None} == staying
