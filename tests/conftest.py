"""Two processes share the tests and the cores: each computes in one thread, for two pools would wait in turn.

Files are handed out whole and in their order, so that the long stories begin first; `pytest -n 0` runs all in one.
"""

import io
import logging
import os
from collections.abc import Iterator

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch and faiss are loaded


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What the log says, in the form of a gateway or worker that is no test."""
    from infonce.logs import write_logs  # deferred: above, a variable is set before anything of ours is loaded

    root = logging.getLogger()
    handlers, level, stream = root.handlers[:], root.level, io.StringIO()
    write_logs(stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests that draw a seed drew and found is told, so that any run can be repeated."""
    passed = terminalreporter.getreports("passed")
    told = [line for report in passed for line in report.capstdout.splitlines() if line.startswith("seed ")]
    if told:
        terminalreporter.section("seeds")
    for line in told:
        terminalreporter.write_line(line)
