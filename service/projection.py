"""Documents of a collection as points of a plane, by one version or by two in the same plane."""

from typing import Final

import numpy as np

from infonce.plane import Plane
from service.live_indexes import LiveIndexes
from service.schemas.projection import Point, Projection

_PLACES: Final = ("x", "y", "against_x", "against_y")


def draw(
    indexes: LiveIndexes, *, project: str, name: str, version: str | None, against: str | None, limit: int
) -> Projection:
    """A sample of what can be found; with `against` of what both versions find, in the plane of the vectors of both.

    Raises:
        NotFound: no such collection or version.
        Conflict: a version is still being built (`not_ready`).
        ArtifactCorrupt, IndexCorrupt: an index on disk is damaged.
    """
    served = indexes.current(project, name) if version is None else indexes.of_version(project, name, id=version)
    drawn = [served] if against is None else [served, indexes.of_version(project, name, id=against)]
    ids = [id for id in served.live.sample(limit) if all(one.live.vector(id) is not None for one in drawn)]
    vectors = [np.array([one.live.vector(id) for id in ids], dtype=np.float32) for one in drawn]  # (n, D) each
    if not ids or served.collection.dimension == 1:
        plane, points = None, []
    else:
        plane = Plane.through(np.concatenate(vectors))
        places = np.concatenate([plane.points(found) for found in vectors], axis=1).tolist()  # (n, 2) or (n, 4)
        points = [
            Point(id=id, **dict(zip(_PLACES, place, strict=False))) for id, place in zip(ids, places, strict=True)
        ]
    return Projection(
        collection=served.collection.name,
        version=None if served.version is None else served.version.id,
        against=against,
        explained=(0.0, 0.0) if plane is None else plane.explained,
        count=served.live.count,
        points=points,
    )
