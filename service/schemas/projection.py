"""A collection drawn in a plane."""

from typing import Literal

from service.schemas.strict import Answer


class Point(Answer):
    """A document, by the version that is drawn, and by the one it is drawn against."""

    id: str
    x: float
    y: float
    against_x: float | None = None
    against_y: float | None = None


class Projection(Answer):
    """Documents as points of one plane, which both versions share."""

    object: Literal["collection.projection"] = "collection.projection"
    collection: str
    version: str | None
    against: str | None
    explained: tuple[float, float]
    """The share of the variance that each axis shows."""
    count: int
    """Documents that can be found, of which the points are a sample."""
    points: list[Point]
