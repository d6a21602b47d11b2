"""Vectors as points of a plane, to be looked at: their first two principal components (Pearson 1901)."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Numbers = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Plane:
    """Where a plane lies among vectors of dimension D, and how much of them it shows."""

    mean: Numbers
    """(D,)"""
    axes: Numbers
    """(2, D), orthonormal; the largest number of each is positive, so that equal vectors give equal pictures."""
    explained: tuple[float, float]
    """The share of the variance along each axis."""

    @classmethod
    def through(cls, vectors: Vectors) -> Self:
        """The plane of most variance.

        Shape:
            vectors (n, D), n at least 1 and D at least 2.
        """
        mean = vectors.mean(axis=0, dtype=np.float64)
        centred = vectors - mean
        variances, directions = np.linalg.eigh(centred.T @ centred)  # ascending
        axes = directions[:, :-3:-1].T  # (2, D)
        peaks = np.abs(axes).argmax(axis=1)
        signs = np.sign(axes[np.arange(2), peaks])
        total = float(variances.clip(min=0).sum()) or 1.0
        first, second = (max(0.0, float(variances[-place])) / total for place in (1, 2))
        return cls(mean=mean, axes=axes * signs[:, None], explained=(first, second))

    def points(self, vectors: Vectors) -> Numbers:
        """Where they lie in the plane; (n, 2)."""
        found: Numbers = (vectors - self.mean) @ self.axes.T
        return found
