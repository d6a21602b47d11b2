"""A line of the log has the ids of what its process is at work on, and no secret; people and programs can read it."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from infonce.errors import ConfigError
from infonce.logs import at_work_on, level_of, write_logs


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    """The test runner's own handlers and level come back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_line_is_json_with_the_ids_that_are_bound() -> None:
    stream = io.StringIO()
    write_logs(stream)
    with at_work_on(job="job-1", attempt=2):
        logging.getLogger("other.library").warning("%d bells", 3, extra={"queue": "train"})
    logging.getLogger("worker").info("idle")
    inside, outside = map(json.loads, stream.getvalue().splitlines())
    assert inside.pop("timestamp").endswith("Z")
    known = {"event": "3 bells", "level": "warning", "logger": "other.library"}
    assert inside == {**known, "job": "job-1", "attempt": 2, "queue": "train"}
    assert outside["event"] == "idle" and "job" not in outside


def test_an_exception_stays_in_its_line() -> None:
    stream = io.StringIO()
    write_logs(stream)
    try:
        raise ZeroDivisionError("oh")
    except ZeroDivisionError:
        logging.getLogger("x").exception("broken off")
    (line,) = map(json.loads, stream.getvalue().splitlines())
    assert line["event"] == "broken off" and line["exception"].endswith("ZeroDivisionError: oh")


def test_a_terminal_shows_lines_for_people() -> None:
    stream = Terminal()
    write_logs(stream)
    with at_work_on(request="req_1"):
        logging.getLogger("x").info("hello")
    assert "hello" in stream.getvalue() and "req_1" in stream.getvalue() and "{" not in stream.getvalue()


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_no_secret_is_written(stream: type[io.StringIO]) -> None:
    written, key = stream(), "inf_abcd1234_" + "s3cret" * 8
    write_logs(written)
    try:
        raise ValueError(f"Authorization: Bearer {key}")
    except ValueError:
        logging.getLogger("x").exception("redis://:s3cret@host:1/0 with %s", key, extra={"given": [key]})
    assert "s3cret" not in written.getvalue() and "inf_abcd1234_…" in written.getvalue()


def test_a_level_below_the_one_that_was_set_is_not_written() -> None:
    stream = io.StringIO()
    write_logs(stream, level=level_of({"INFONCE_LOG_LEVEL": "error"}))
    logging.getLogger("x").warning("hello")
    assert stream.getvalue() == "" and level_of({}) == logging.INFO


def test_a_level_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigError, match="INFONCE_LOG_LEVEL is 'loud'; it must be one of debug, info"):
        level_of({"INFONCE_LOG_LEVEL": "loud"})
