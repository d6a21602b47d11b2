"""The best of many scores are those that a stable sort has in front."""

import numpy as np
import pytest

from infonce.ranking import highest


@pytest.mark.parametrize("count", [1, 3, 40, 50])
def test_the_highest_are_the_first_of_a_stable_sort(count: int) -> None:
    for line in np.random.default_rng(count).integers(0, 9, (20, 40)).astype(np.float32):  # with many equal ones
        line[::5] = -np.inf
        assert np.array_equal(highest(line, count), np.argsort(-line, kind="stable")[:count])
    assert highest(np.empty(0), count).tolist() == []
