"""The gateway as a process: quick to start, quick to end, and clear when it may not."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from service.gateway import server_config
from service.settings import EdgeLimits, GatewaySettings
from tests.service.conftest import Gateway

RUN = """import os
from service.gateway import run
from service.settings import GatewaySettings
run(GatewaySettings.from_env(os.environ))
"""


@pytest.fixture
def env(settings: GatewaySettings) -> dict[str, str]:
    return {
        **os.environ,
        "INFONCE_DATABASE_URL": settings.store.database_url,
        "INFONCE_ARTIFACTS": str(settings.store.artifacts),
        "INFONCE_BROKER_URL": "redis://127.0.0.1:1/0",
        "INFONCE_HUB": "off",
        "INFONCE_PORT": "0",
        "PYTHONUNBUFFERED": "1",
    }


@pytest.fixture
def process(env: dict[str, str], tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    log = (tmp_path / "log.txt").open("w")
    started = subprocess.Popen([sys.executable, "-c", RUN], env=env, stdout=subprocess.PIPE, stderr=log, text=True)
    yield started
    started.kill()
    started.wait()
    assert started.stdout is not None
    started.stdout.close()
    log.close()


def test_it_says_where_it_listens_serves_there_and_ends_when_told(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    said = re.fullmatch(r"(http://127\.0\.0\.1:\d+)\n", process.stdout.readline())
    assert said is not None
    with httpx2.Client(base_url=said[1], trust_env=False, timeout=10) as http:
        assert http.get("/healthz").json() == {"status": "ok"}
        assert http.get("/readyz").json() == {"status": "ready", "degraded": ["broker"]}
        assert "server" not in http.get("/healthz").headers
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=20)
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"INFONCE_HOST": "0.0.0.0"}, "no API key exists"),
        ({"INFONCE_HOST": "192.0.2.1"}, "no API key exists"),
        ({"INFONCE_DATABASE_URL": "sqlite:////nowhere/store.db"}, "infonce migrate"),
        ({"INFONCE_DATABASE_URL": ""}, "INFONCE_DATABASE_URL"),
    ],
)
def test_what_it_cannot_start_with_is_said_in_a_sentence(
    env: dict[str, str], change: dict[str, str], said: str
) -> None:
    done = subprocess.run([sys.executable, "-c", RUN], env=env | change, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and said in done.stderr.splitlines()[-1]


def test_more_connections_than_the_system_has_files_for_are_refused(env: dict[str, str]) -> None:
    limited = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (900, 900))\n" + RUN
    done = subprocess.run([sys.executable, "-c", limited], env=env, capture_output=True, text=True, timeout=60)
    assert "may open only 900 files; set it to 388 or less" in done.stderr.splitlines()[-1]


def test_what_uvicorn_is_told(gateway: Gateway) -> None:
    config = server_config(gateway.http.app, EdgeLimits())  # type: ignore[arg-type]  # starlette's client keeps any app
    assert (config.timeout_graceful_shutdown, config.timeout_keep_alive, config.limit_concurrency) == (20, 5, None)
    assert not config.server_header and not config.proxy_headers and config.ws == "none"


def test_a_taken_port_is_said_to_be_taken(env: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        change = {"INFONCE_PORT": str(taken.getsockname()[1])}
        done = subprocess.run([sys.executable, "-c", RUN], env=env | change, capture_output=True, text=True, timeout=60)
    assert "cannot listen on 127.0.0.1 port" in done.stderr
