"""The plane of most variance: as a singular value decomposition finds it, the same for equal vectors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infonce.plane import Plane


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(3, 40), dimension=st.integers(2, 12))
def test_the_axes_are_the_first_two_right_singular_vectors(seed: int, count: int, dimension: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)
    plane = Plane.through(vectors)
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    shares = sizes**2 / (sizes**2).sum()
    assert plane.explained == pytest.approx(tuple(shares[:2]), abs=1e-6)
    assert plane.axes @ plane.axes.T == pytest.approx(np.eye(2), abs=1e-9)
    for axis, direction, gap in zip(plane.axes, directions, -np.diff(shares), strict=False):
        if gap > 1e-3 and axis is plane.axes[0]:
            assert abs(axis @ direction) == pytest.approx(1, abs=1e-4)
    shown = plane.points(vectors)
    assert (shown**2).sum(axis=0) / (centred**2).sum() == pytest.approx(np.array(shares[:2]), abs=1e-5)


def test_equal_vectors_give_equal_pictures_and_a_point_alone_is_the_middle() -> None:
    vectors = np.random.default_rng(0).normal(size=(30, 8)).astype(np.float32)
    one, other = Plane.through(vectors), Plane.through(vectors[::-1].copy())
    assert one.points(vectors) == pytest.approx(other.points(vectors), abs=1e-5)
    alone = Plane.through(vectors[:1])
    assert alone.points(vectors[:1]) == pytest.approx(np.zeros((1, 2))) and alone.explained == (0.0, 0.0)
