"""Documents on disk between being checked and being stored: as values, so that no line of a stream is parsed twice."""

import json
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import Final

from service.store.artifacts import disk_errors
from service.store.documents import NewDocument

_NONE: Final = -1
"""Bytes of a vector that there is not."""


class Spool:
    """Documents in a file without a name, which is gone when nobody holds this any more, whatever ends the process.

    A line of JSON tells of some documents, and how long each of their vectors is, which follow it.
    """

    def __init__(self, folder: Path) -> None:
        with disk_errors():
            self._file = TemporaryFile(dir=folder)  # noqa: SIM115 (it lives as long as this)
        weakref.finalize(self, self._file.close)

    def extend(self, some: Iterable[NewDocument]) -> None:
        """These documents come next; some hundred at once are in memory.

        Raises:
            StorageFull: there is no room.
        """
        block = list(some)
        told = [(one.id, one.text, one.metadata, _NONE if one.vector is None else len(one.vector)) for one in block]
        with disk_errors():
            self._file.write(json.dumps(told).encode() + b"\n")
            self._file.writelines(one.vector for one in block if one.vector is not None)

    def __iter__(self) -> Iterator[NewDocument]:
        with disk_errors():
            self._file.seek(0)
            while told := self._file.readline():
                for id, text, metadata, num_bytes in json.loads(told):
                    vector = None if num_bytes == _NONE else self._file.read(num_bytes)
                    yield NewDocument(id=id, text=text, metadata=metadata, vector=vector)
