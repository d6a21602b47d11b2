"""The child explains every end of its own, and dies when its parent does."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.processes import until
from tests.worker.test_process import runs
from worker.child import EXIT_CRASHED, EXIT_FAILED, EXIT_ORPHANED
from worker.progress import read_message

PREAMBLE = """
import os, sys, time
from pathlib import Path
from infonce.errors import NonFiniteLoss, Stopped
from worker.child import main
def body(order, progress):
{body}
main(Path(sys.argv[1]), int(sys.argv[2]), body=body)
"""


def start(tmp_path: Path, body: str) -> subprocess.Popen[bytes]:
    """A child whose body is the given lines."""
    order = tmp_path / "order.json"
    order.write_text(json.dumps({"kind": "train", "job_id": "ftjob-1", "attempt": 2}))
    script = PREAMBLE.format(body="\n".join("    " + line for line in body.splitlines()))
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-c", script, str(order), str(os.getpid())], stdin=pipe, stdout=pipe, stderr=pipe
    )


def end(child: subprocess.Popen[bytes]) -> tuple[int, list[tuple[str, dict[str, Any]]], str]:
    """Exit code, messages and log; stdin stays open until the child is gone."""
    assert child.stdout and child.stderr
    lines, log = child.stdout.read().splitlines(), child.stderr.read().decode()
    code = child.wait(timeout=30)
    assert child.stdin
    child.stdin.close()
    child.stdout.close()
    child.stderr.close()
    messages = [read_message(line) for line in lines]
    return code, [(message[0].value, message[1]) for message in messages if message], log


def test_result_of_the_body_is_sent_last(tmp_path: Path) -> None:
    body = "progress.phase('training')\nprogress.step({'step': 1})\nreturn {'count': 3}"
    code, messages, _ = end(start(tmp_path, body))
    assert code == 0
    assert messages == [
        ("phase", {"phase": "training"}),
        ("progress", {"step": 1}),
        ("done", {"result": {"count": 3}}),
    ]


def test_prints_of_a_library_go_to_the_log(tmp_path: Path) -> None:
    code, messages, log = end(start(tmp_path, "print('noise', flush=True)\nos.system('echo more')\nreturn {}"))
    assert (code, messages) == (0, [("done", {"result": {}})])
    assert "noise" in log and "more" in log


def test_a_line_of_the_log_has_the_ids_of_the_attempt(tmp_path: Path) -> None:
    _, _, log = end(start(tmp_path, "import logging\nlogging.getLogger('a.library').warning('it is hot')\nreturn {}"))
    (line,) = map(json.loads, log.splitlines())
    assert (line["event"], line["job"], line["attempt"]) == ("it is hot", "ftjob-1", 2)


@pytest.mark.parametrize(
    ("statement", "code", "user"),
    [
        ("raise NonFiniteLoss('the loss is nan at step 7', step=7)", "nan_loss", True),
        ("raise OSError(28, 'No space left on device')", "storage_full", False),
    ],
)
def test_errors_with_a_name_are_sent(tmp_path: Path, statement: str, code: str, user: bool) -> None:
    exit_code, messages, _ = end(start(tmp_path, statement))
    assert exit_code == EXIT_FAILED
    [(kind, body)] = messages
    assert (kind, body["error"]["code"], body["error"]["user"]) == ("failed", code, user)


@pytest.mark.parametrize("statement", ["raise MemoryError", "1 / 0", "raise SystemExit(0)"])
def test_unknown_errors_leave_a_traceback_and_no_message(tmp_path: Path, statement: str) -> None:
    code, messages, log = end(start(tmp_path, statement))
    assert (code, messages) == (EXIT_CRASHED, [])
    assert "Traceback" in log


def test_segfault_leaves_a_stack_in_the_log(tmp_path: Path) -> None:
    code, _, log = end(start(tmp_path, "import signal\nos.kill(os.getpid(), signal.SIGSEGV)"))
    assert code == -signal.SIGSEGV
    assert "Fatal Python error" in log


def test_sigterm_is_a_wish_that_the_body_sees(tmp_path: Path) -> None:
    body = "progress.phase('training')\nwhile not progress.stop_requested(): time.sleep(0.01)\nraise Stopped"
    child = start(tmp_path, body)
    assert child.stdout
    child.stdout.readline()
    child.terminate()
    code, messages, _ = end(child)
    assert (code, messages) == (0, [("stopped", {})])


def test_end_of_stdin_ends_the_child(tmp_path: Path) -> None:
    child = start(tmp_path, "progress.phase('training')\ntime.sleep(60)")
    assert child.stdin and child.stdout
    child.stdout.readline()
    child.stdin.close()
    assert child.wait(timeout=10) == EXIT_ORPHANED
    child.stdout.close()
    assert child.stderr
    child.stderr.close()


def test_child_ends_normally_while_its_thread_waits_on_stdin(tmp_path: Path) -> None:
    """CPython aborts here (exit code -6) if the thread reads through `sys.stdin.buffer`."""
    for _ in range(3):
        code, _, log = end(start(tmp_path, "time.sleep(0.05)\nreturn {}"))
        assert code == 0, log


PARENT = """
import os, subprocess, sys
started = subprocess.Popen([sys.executable, "-c", sys.argv[1], sys.argv[2], str(os.getpid())], stdin=subprocess.PIPE)
print(started.pid, flush=True)
started.wait()"""


def test_child_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "order.json").write_text(json.dumps({"kind": "train", "job_id": "ftjob-1", "attempt": 2}))
    ready = tmp_path / "ready"
    child = PREAMBLE.format(body=f"    Path({str(ready)!r}).touch()\n    time.sleep(60)")
    command = [sys.executable, "-c", PARENT, child, str(tmp_path / "order.json")]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert parent.stdout
    pid = int(parent.stdout.readline())
    until(ready.exists, "the body at work")
    parent.kill()
    parent.wait()
    parent.stdout.close()
    until(lambda: not runs(pid), "the end of the child", seconds=5)


def test_the_kernel_takes_the_child_first_when_memory_runs_out(tmp_path: Path) -> None:
    _, [(_, body)], _ = end(start(tmp_path, "return {'score': Path('/proc/self/oom_score_adj').read_text()}"))
    assert body["result"]["score"].strip() == "1000"


def test_foreign_parent_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "worker.child", str(tmp_path / "order.json"), "1"]
    started = time.monotonic()
    assert subprocess.run(command, stdin=subprocess.DEVNULL, timeout=30).returncode == EXIT_ORPHANED
    assert time.monotonic() - started < 10
