"""Two processes share the tests and the cores: each computes in one thread, for two pools would wait in turn.

Files are handed out whole and in their order, so that the long stories begin first; `pytest -n 0` runs all in one.
"""

import os

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch and faiss are loaded


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests that draw a seed drew and found is told, so that any run can be repeated."""
    passed = terminalreporter.getreports("passed")
    told = [line for report in passed for line in report.capstdout.splitlines() if line.startswith("seed ")]
    if told:
        terminalreporter.section("seeds")
    for line in told:
        terminalreporter.write_line(line)
