"""Ranks end with the first process, and the first process with one sentence when a rank is lost.

The ranks here are scripts that join the group without a model; a training in processes is in
tests/worker/jobs/test_processes.py.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from infonce.config import EncoderConfig, TrainConfig
from infonce.distributed import Processes
from infonce.errors import ConfigError, RankFailed, Stopped
from infonce.lifeline import EXIT_ORPHANED
from infonce.meeting import Meeting, RankOrder, wanted_processes
from infonce.ranks import COMMAND, num_processes, ranks
from tests.end_to_end.processes import until
from tests.factories import toy_pairs
from tests.worker.test_process import runs

CPU = torch.device("cpu")
ORDER = RankOrder(model=Path("model"), encoder=EncoderConfig(device="cpu"), config=TrainConfig())
RANK = """
import os, sys, time
from pathlib import Path
from infonce.errors import InvalidModel
from infonce.rank import main
def part(folder, rank, *, count):
{body}
main(Path(sys.argv[1]), int(sys.argv[2]), count=int(sys.argv[3]), parent=int(sys.argv[4]), part=part)
"""
JOIN = """
import torch
from infonce.distributed import Processes, join_group
from infonce.meeting import Meeting
processes, cpu = Processes(rank=rank, count=count), torch.device("cpu")
Meeting(folder).ready(rank).touch()
join_group(processes, Meeting(folder).group, device=cpu)
"""


def script(body: str) -> Sequence[str]:
    """The command of a rank whose part is these lines."""
    return (sys.executable, "-c", RANK.format(body="\n".join("    " + line for line in body.splitlines())))


def beside(tmp_path: Path, body: str, *, count: int = 2) -> AbstractContextManager[None]:
    return ranks(ORDER, toy_pairs(2), count=count, folder=tmp_path, command=script(body))


def test_a_rank_that_raises_is_named_with_its_words_and_its_peers_are_not(tmp_path: Path) -> None:
    body = JOIN + "processes.largest(0, device=cpu)\nif rank == 1: raise InvalidModel('a sentence')\n"
    body += "processes.largest(0, device=cpu)"
    with (
        pytest.raises(RankFailed, match=r"process 1 of the 3 .* a sentence") as caught,
        beside(tmp_path, body, count=3),
    ):
        Processes.current().largest(0, device=CPU)
        Processes.current().largest(0, device=CPU)
    assert caught.value.rank == 1
    assert not dist.is_initialized() and list(tmp_path.iterdir()) == []


def test_a_killed_rank_is_noticed_within_seconds(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    kill = "assert processes.from_first(dict, device=cpu) == {'a': [0.1, 'ü']}\nos.kill(os.getpid(), 9)"
    with pytest.raises(RankFailed, match="killed"), beside(tmp_path, JOIN + kill):
        assert Processes.current() == Processes(rank=0, count=2)
        Processes.current().from_first(lambda: {"a": [0.1, "ü"]}, device=CPU)
        began = time.monotonic()
        Processes.current().any(False, device=CPU)
    assert time.monotonic() - began < 5
    assert torch.get_num_threads() == threads


def test_a_rank_that_is_lost_before_the_group_stands_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(RankFailed, match="gone"), beside(tmp_path, "raise InvalidModel('gone')"):
        raise AssertionError
    with pytest.raises(RankFailed, match="exit code 3"), beside(tmp_path, "os._exit(3)"):
        raise AssertionError


def test_a_wish_to_stop_is_heard_while_ranks_start(tmp_path: Path) -> None:
    command = script("time.sleep(60)")
    with pytest.raises(Stopped), ranks(ORDER, [], count=2, folder=tmp_path, command=command, stop=lambda: True):
        raise AssertionError


def test_a_rank_that_never_becomes_ready_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infonce.ranks._READY_SECONDS", 0.1)
    with pytest.raises(RankFailed, match=r"process 1 of the 2 .* was not ready"), beside(tmp_path, "time.sleep(60)"):
        raise AssertionError("nobody came")


def test_an_error_of_the_first_process_leaves_no_rank(tmp_path: Path) -> None:
    body = (
        JOIN + "(folder.parent / 'pid').write_text(str(os.getpid()))\nprocesses.largest(0, device=cpu)\ntime.sleep(60)"
    )
    with pytest.raises(ZeroDivisionError), beside(tmp_path, body):
        Processes.current().largest(0, device=CPU)
        _ = 1 / 0
    assert not runs(int((tmp_path / "pid").read_text()))


def test_a_rank_ends_with_the_first_process_whatever_kills_that(tmp_path: Path) -> None:
    first = "import subprocess, sys, time\nchild = subprocess.Popen(sys.argv[1:] + [str(__import__('os').getpid())], "
    first += "stdin=subprocess.PIPE)\ntime.sleep(60)"
    body = "(folder / 'pid').write_text(str(os.getpid()))\ntime.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", first, *script(body), str(tmp_path), "1", "2"])
    until(lambda: (tmp_path / "pid").exists() and bool((tmp_path / "pid").read_text()), "the rank at work")
    process.send_signal(signal.SIGKILL)
    process.wait()
    until(lambda: not runs(int((tmp_path / "pid").read_text())), "the end of the rank", seconds=5)


def test_a_rank_ends_with_its_stdin_and_heeds_no_signal_that_is_for_the_first_process(tmp_path: Path) -> None:
    body = "(folder / 'pid').write_text('x')\ntime.sleep(60)"
    arguments = [*script(body), str(tmp_path), "1", "2", str(os.getpid())]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE) as process:
        until(lambda: (tmp_path / "pid").exists(), "the rank at work")
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(10) == EXIT_ORPHANED


def test_a_rank_imports_nothing_from_where_it_starts(tmp_path: Path) -> None:
    (tmp_path / "infonce").mkdir()
    (tmp_path / "infonce" / "__init__.py").write_text("raise SystemExit('from where it starts')")
    meeting = [str(tmp_path), "1", "2", "1"]  # nothing lies there: it ends with an error of its own
    ended = subprocess.run([*COMMAND, *meeting], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert ended.returncode != 0 and "from where it starts" not in ended.stderr


def test_order_and_pairs_survive_their_files(tmp_path: Path) -> None:
    order = RankOrder(
        model=tmp_path / "m",
        encoder=EncoderConfig(max_seq_length=32),
        config=TrainConfig(batch_size=8),
        checkpoints=[tmp_path / "c", tmp_path / "d"],
    )
    pairs = toy_pairs(3, negatives=2)
    Meeting(tmp_path).write(order, pairs)
    assert Meeting(tmp_path).read() == (order, pairs)


def test_number_of_processes_is_one_without_gpus_and_checked() -> None:
    assert num_processes(wanted_processes("INFONCE_PROCESSES", "auto")) == max(1, torch.cuda.device_count())
    assert num_processes(wanted_processes("INFONCE_PROCESSES", "2")) == 2
    for wrong in ("0", "-1", "65", "many", "²"):
        with pytest.raises(ConfigError, match="INFONCE_PROCESSES"):
            wanted_processes("INFONCE_PROCESSES", wrong)
