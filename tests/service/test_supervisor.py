"""The embedded stack starts whole, says what is wrong in a sentence, and never leaves a process behind."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest

from service.valkey import configure
from tests.end_to_end.processes import until
from tests.service.serving import serving, training


def test_sigterm_ends_an_idle_stack_with_nothing_left(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        assert httpx2.get(f"{served.url()}/readyz").json()["degraded"] == []
        assert served.end(signal.SIGTERM) == 0
        served.assert_gone()
    text = served.output.read_text()
    assert "Traceback" not in text and len(text.splitlines()) == 3
    assert {path.name for path in (served.home / "logs").iterdir()} == {
        "valkey.log", "gateway.log", "worker-train.log", "worker-medium.log", "worker-light.log",
    }  # fmt: skip


@pytest.mark.parametrize("pause", [0.3, 0.8, 1.6])
def test_ctrl_c_while_it_starts_leaves_nothing(tmp_path: Path, pause: float) -> None:
    with serving(tmp_path) as served:
        until(lambda: served.processes() if len(served.processes()) > 1 else None, "a first part")
        time.sleep(pause)  # not to wait for something: to hit different moments of the start
        served.end(signal.SIGINT)
        served.assert_gone()
        assert "Traceback" not in served.output.read_text()


def test_nothing_outlives_a_kill_of_the_parent_in_the_middle_of_a_training(tmp_path: Path) -> None:
    with training(tmp_path, num_steps=32_000) as (served, _, _):
        assert any("worker.child" in line for line in served.processes().values())
        served.process.kill()
        served.process.wait()
        served.assert_gone()


def test_second_stack_of_a_home_is_refused(tmp_path: Path) -> None:
    with serving(tmp_path) as first:
        first.url()
        command = [sys.executable, "-m", "service.cli", "serve", "--home", str(first.home), "--port", "0"]
        second = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert (second.returncode, second.stdout) == (1, "")
        assert second.stderr.startswith("infonce: another infonce runs in") and second.stderr.count("\n") == 1
        assert first.process.poll() is None


def test_taken_port_and_open_address_are_refused_in_a_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with serving(tmp_path, "--port", str(taken.getsockname()[1])) as served:
            assert served.process.wait(20) == 1
        assert "cannot listen on 127.0.0.1" in served.output.read_text()
    with serving(tmp_path, "--host", "0.0.0.0") as served:
        assert served.process.wait(40) == 1
    assert "infonce keys create" in served.output.read_text()


def test_worker_is_started_again_and_the_end_of_the_gateway_ends_the_stack(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        served.url()
        ready = served.home / "worker-light.ready"
        before = ready.stat().st_mtime_ns
        os.kill(served.part("--queues light"), signal.SIGKILL)
        until(lambda: ready.exists() and ready.stat().st_mtime_ns > before, "the worker's second start")
        os.kill(served.part("service.cli gateway"), signal.SIGKILL)
        assert served.process.wait(20) == 1
        served.assert_gone()
    assert "gateway has ended by signal 9" in served.output.read_text().splitlines()[-1]


def test_broker_listens_on_loopback_with_a_password_that_only_its_owner_reads(tmp_path: Path) -> None:
    valkey = configure(tmp_path / "with space", 12_345)
    text = valkey.config_path.read_text()
    for line in ("bind 127.0.0.1", "appendonly yes", "maxmemory-policy noeviction", f"requirepass {valkey.password}"):
        assert line in text.splitlines()
    assert valkey.config_path.stat().st_mode & 0o777 == 0o600
    assert valkey.password not in repr(valkey) and valkey.password not in " ".join(valkey.command)
    assert configure(tmp_path / "with space", 12_345).password != valkey.password
