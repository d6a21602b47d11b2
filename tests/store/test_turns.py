"""Writers of one process take turns, and none waits for ever."""

import threading
import time

import pytest

from service.store.errors import DatabaseUnavailable
from service.store.turns import Turns


def test_one_is_inside_at_a_time_and_who_waits_is_woken() -> None:
    turns, inside, most = Turns(seconds=10.0), 0, 0

    def write() -> None:
        nonlocal inside, most
        for _ in range(50):
            with turns.next():
                inside += 1
                most = max(most, inside)
                time.sleep(0.0001)
                inside -= 1

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (inside, most) == (0, 1)


def test_a_turn_that_does_not_come_in_time_is_told() -> None:
    turns = Turns(seconds=0.05)
    with turns.next(), pytest.raises(DatabaseUnavailable, match=r"within 0\.05 s"), turns.next():
        raise AssertionError("it is taken")
    with pytest.raises(ValueError), turns.next():
        raise ValueError
    with turns.next():  # an error gives it back
        pass
