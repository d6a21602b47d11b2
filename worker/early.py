"""Vectors that can be found before the job that makes them has ended: a file from the child to its parent.

The child knows no database and the parent no model, so a file says which documents it is about and who embedded them.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, kw_only=True, slots=True)
class EarlyVectors:
    """Vectors of some documents of a collection."""

    collection: str
    """Its id."""
    model: str
    fingerprint: str
    sequences: Mapping[str, int]
    """When each document was written; one that was written again since has another text."""
    vectors: Mapping[str, bytes]
    """Little-endian float32, unit length."""

    def save(self, path: Path) -> None:
        """The file stands there, whole."""
        coded = {id: base64.b64encode(vector).decode() for id, vector in self.vectors.items()}
        part = path.with_suffix(".part")
        part.write_text(json.dumps(asdict(self) | {"vectors": coded}))
        part.rename(path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """What `save` wrote."""
        said = json.loads(path.read_text())
        return cls(**said | {"vectors": {id: base64.b64decode(coded) for id, coded in said["vectors"].items()}})
