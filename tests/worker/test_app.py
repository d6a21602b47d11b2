"""The worker's processes stay light, are configured as measured, and say when they drain."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from infonce.errors import ConfigError
from worker.app import MainProcess, configuration
from worker.settings import DRAIN_FILE, WORKER_PID, WorkerSettings

PLACES = {
    "INFONCE_DATABASE_URL": "sqlite:////nowhere/infonce.db",
    "INFONCE_ARTIFACTS": "/nowhere/artifacts",
    "INFONCE_BROKER_URL": "redis://127.0.0.1:1/0",
}


def test_worker_loads_no_torch() -> None:
    code = """
import sys, worker.app, worker.tasks, worker.lifecycle, worker.child
heavy = {"torch", "transformers", "faiss", "sentence_transformers"} & set(sys.modules)
sys.exit(f"loaded: {heavy}" if heavy else 0)"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_celery_reads_its_settings_when_it_first_needs_one() -> None:
    code = "from worker.app import app; c = app.conf; print(c.worker_disable_prefetch, c.worker_pool_start_method)"
    environment = {**os.environ, **PLACES}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["True", "spawn"], done.stderr


def test_settings_are_those_that_survived_the_measurements(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in PLACES.items():
        monkeypatch.setenv(name, value)
    settings = configuration()
    expected = {
        "task_acks_late": False,
        "worker_disable_prefetch": True,
        "worker_prefetch_multiplier": 0,
        "worker_concurrency": 1,
        "worker_pool": "prefork",
        "worker_pool_start_method": "spawn",
        "task_ignore_result": True,
        "result_backend": None,
        "task_publish_retry": False,
        "task_create_missing_queues": False,
    }
    assert {name: settings[name] for name in expected} == expected
    assert settings["broker_transport_options"]["socket_timeout"] == 10


def test_drain_file_lies_where_the_pool_process_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in PLACES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(DRAIN_FILE, "")  # restored afterwards
    monkeypatch.setenv(WORKER_PID, "")
    main = MainProcess()
    main.prepare()
    settings = WorkerSettings.from_env(dict(os.environ))
    assert not settings.draining()
    main.drain()
    assert settings.draining()
    main.end()
    assert not settings.draining()


def test_threads_of_a_child_are_every_core_unless_told(tmp_path: Path) -> None:
    assert WorkerSettings.from_env(PLACES).threads >= 1
    assert WorkerSettings.from_env({**PLACES, "INFONCE_THREADS": "3"}).threads == 3


def test_the_precision_of_an_index_is_the_fastest_unless_told() -> None:
    assert WorkerSettings.from_env(PLACES).precision == "auto"
    assert WorkerSettings.from_env({**PLACES, "INFONCE_SERVING_PRECISION": "int8"}).precision == "int8"


def test_settings_do_not_print_what_is_secret() -> None:
    text = repr(WorkerSettings.from_env({**PLACES, "INFONCE_BROKER_URL": "redis://:secret@h/0"}))
    assert "secret" not in text


def test_number_of_processes_is_auto_or_what_is_given() -> None:
    assert WorkerSettings.from_env(PLACES).processes == "auto"
    assert WorkerSettings.from_env({**PLACES, "INFONCE_PROCESSES": "4"}).processes == 4
    with pytest.raises(ConfigError, match="INFONCE_PROCESSES is '0'"):
        WorkerSettings.from_env({**PLACES, "INFONCE_PROCESSES": "0"})


@pytest.mark.parametrize("given", ["0", "9.9", "-900", "1e9", "nan", "soon", "90000"])
def test_a_patience_out_of_range_is_refused_with_its_range(given: str) -> None:
    assert WorkerSettings.from_env({**PLACES, "INFONCE_STALL_SECONDS": "30.5"}).stall_seconds == 30.5
    assert WorkerSettings.from_env(PLACES).stall_seconds == 900
    with pytest.raises(ConfigError, match=r"INFONCE_STALL_SECONDS is .* between 10\.0 and 86400\.0; .*900 is"):
        WorkerSettings.from_env({**PLACES, "INFONCE_STALL_SECONDS": given})
