"""A launched program never outlives the process that ordered it."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from service.launch import PARENT_GONE

BOUND = "from service.launch import run; import os; run({program!r}, os.getppid())"
MONITORED = "from service.launch import run; import os; run({program!r}, os.getppid(), bind=lambda: False)"
PARENT = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {launcher!r}]); time.sleep(60)"


def running(pid: int) -> bool:
    """Whether the process lives; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def await_pid(path: Path) -> int:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if path.exists() and path.read_text():
            return int(path.read_text())
        time.sleep(0.02)
    raise AssertionError("the program did not start within 20 s")


def await_end(pid: int) -> None:
    deadline = time.monotonic() + 10
    while running(pid):
        assert time.monotonic() < deadline, f"process {pid} still runs 10 s after its parent was killed"
        time.sleep(0.02)


@pytest.mark.parametrize("template", [BOUND, MONITORED], ids=["kernel", "monitor"])
def test_program_dies_when_its_parent_is_killed(tmp_path: Path, template: str) -> None:
    pid_path = tmp_path / "pid"
    body = f"import os, time; open({str(pid_path)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    launcher = template.format(program=[sys.executable, "-c", body])
    parent = subprocess.Popen([sys.executable, "-c", PARENT.format(launcher=launcher)])
    try:
        pid = await_pid(pid_path)
        assert running(pid)
    finally:
        parent.kill()
        parent.wait()
    await_end(pid)


@pytest.mark.parametrize("template", [BOUND, MONITORED], ids=["kernel", "monitor"])
def test_exit_code_of_the_program_is_passed_on(template: str) -> None:
    launcher = template.format(program=[sys.executable, "-c", "raise SystemExit(7)"])
    assert subprocess.run([sys.executable, "-c", launcher], timeout=30).returncode == 7


def test_monitor_passes_sigterm_on(tmp_path: Path) -> None:
    pid_path = tmp_path / "pid"
    body = f"import os, time; open({str(pid_path)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    monitor = subprocess.Popen([sys.executable, "-c", MONITORED.format(program=[sys.executable, "-c", body])])
    pid = await_pid(pid_path)
    monitor.terminate()
    assert monitor.wait(timeout=10) == 128 + 15
    assert not running(pid)


def test_program_is_not_started_when_the_parent_is_already_gone(tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    command = [sys.executable, "-m", "service.launch", "1", sys.executable, "-c", f"open({str(touched)!r}, 'w')"]
    assert subprocess.run(command, timeout=30).returncode == PARENT_GONE
    assert not touched.exists()
