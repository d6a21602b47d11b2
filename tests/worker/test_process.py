"""The parent reads what a child says, keeps its log short, and leaves none of its processes behind."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infonce.peak_memory import peak_memory_bytes
from worker.process import MAX_LOG_BYTES, ChildProcess, Message, child_environment
from worker.progress import MessageType


@contextmanager
def child(tmp_path: Path, script: str) -> Iterator[ChildProcess]:
    process = ChildProcess.start(
        [sys.executable, "-c", script], child_environment(os.environ, 1), log_path=tmp_path / "log.txt"
    )
    try:
        yield process
    finally:
        process.close()


def all_messages(process: ChildProcess) -> list[Message]:
    messages: list[Message] = []
    deadline = time.monotonic() + 30
    while process.ended() is None and time.monotonic() < deadline:
        messages.extend(process.listen(0.05))
    return [*messages, *process.last_words()]


def runs(pid: int) -> bool:
    """Whether the process lives; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_messages_arrive_in_order_and_noise_is_passed_over(tmp_path: Path) -> None:
    script = """print('{"type":"phase","phase":"loading"}\\nnoise\\n[1]\\n{"type":"unknown"}\\n{"type":"stopped"}')"""
    with child(tmp_path, script) as process:
        assert all_messages(process) == [(MessageType.PHASE, {"phase": "loading"}), (MessageType.STOPPED, {})]


def test_overlong_line_is_passed_over_and_the_next_is_read(tmp_path: Path) -> None:
    script = """print('{"type":"phase","phase":"' + 'x' * 5_000_000 + '"}\\n{"type":"stopped"}')"""
    with child(tmp_path, script) as process:
        assert all_messages(process) == [(MessageType.STOPPED, {})]


def test_flooded_log_keeps_its_beginning_and_its_end(tmp_path: Path) -> None:
    script = "import sys\nsys.stderr.write('begin' + 'x' * 3_000_000 + 'end')"
    with child(tmp_path, script) as process:
        all_messages(process)
        assert process.tail.endswith("xend")
    text = (tmp_path / "log.txt").read_text()
    assert len(text) < MAX_LOG_BYTES + 10_000
    assert text.startswith("beginx") and text.endswith("xend") and "bytes left out" in text


def test_a_child_that_floods_its_parent_costs_it_no_memory(tmp_path: Path) -> None:
    script = """
import os
noise = b'x' * 1023 + b'\\n'
for _ in range(1000):
    os.write(1, noise * 64)
    os.write(2, noise * 64)
os.write(1, b'{"type":"stopped"}\\n')"""
    before = peak_memory_bytes()
    with child(tmp_path, script) as process:
        assert all_messages(process) == [(MessageType.STOPPED, {})]
    assert peak_memory_bytes() - before < 50_000_000
    assert (tmp_path / "log.txt").stat().st_size < MAX_LOG_BYTES + 10_000


def test_close_leaves_no_process_of_the_group(tmp_path: Path) -> None:
    script = """
import subprocess, sys, time
grandchild = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])
print('{"type":"phase","phase":"%d"}' % grandchild.pid, flush=True)
time.sleep(60)"""
    with child(tmp_path, script) as process:
        messages: list[Message] = []
        while not messages:
            messages.extend(process.listen(1))
    grandchild = int(messages[0][1]["phase"])
    deadline = time.monotonic() + 10
    while runs(grandchild):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert process.ended() == -signal.SIGKILL


def test_secrets_of_the_worker_stay_in_the_worker() -> None:
    environment = {"INFONCE_BROKER_URL": "redis://:secret@h", "INFONCE_DATABASE_URL": "x", "HF_TOKEN": "t", "PATH": "p"}
    environment |= {"GOMP_SPINCOUNT": "5000", "INFONCE_MAX_TEXT_CHARACTERS": "9"}
    given = child_environment(environment, 2)
    assert not set(given) & {"INFONCE_BROKER_URL", "INFONCE_DATABASE_URL", "HF_TOKEN"}
    assert (given["PATH"], given["HF_HUB_OFFLINE"], given["OMP_NUM_THREADS"]) == ("p", "1", "2")
    assert (given["GOMP_SPINCOUNT"], given["INFONCE_MAX_TEXT_CHARACTERS"]) == ("5000", "9")
