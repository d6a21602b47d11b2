"""The files of open indexes are read anew, slowly: what changes on disk after an index was opened is noticed as well.

An index is proven when it is opened and mapped from then on, so that a bit that flips later would go into answers.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from service.live_indexes import LiveIndexes
from service.store.artifacts import Artifacts
from service.store.errors import ArtifactCorrupt

BYTES_A_SECOND: Final = 8 << 20
"""1 % of a core for the checksums, and little beside what any disk gives: 1.5 GB, a million vectors of 384 dimensions,
are read within four minutes."""

REST_SECONDS: Final = 60.0
"""Between two rounds, so that small indexes are not read all the time."""

log = logging.getLogger(__name__)


class IndexChecks:
    """Closes an index that is damaged: who asks next opens it, which proves it again and says what is wrong."""

    def __init__(
        self,
        indexes: LiveIndexes,
        artifacts: Artifacts,
        *,
        found: Callable[[], None],
        bytes_per_second: float = BYTES_A_SECOND,
        rest_seconds: float = REST_SECONDS,
    ) -> None:
        """`found` is called for each index that was damaged."""
        self._indexes = indexes
        self._artifacts = artifacts
        self._found = found
        self._bytes_per_second = bytes_per_second
        self._rest_seconds = rest_seconds

    def run(self, stop: threading.Event) -> None:
        """Round after round until `stop` is set."""
        while not stop.wait(self._rest_seconds):
            self.once(stop)

    def once(self, stop: threading.Event) -> None:
        """Every index that was open at the beginning is proven, or closed, or `stop` was set."""
        for key, folder in self._indexes.folders().items():
            pace = _Pace(self._bytes_per_second, stop=stop)
            try:
                self._artifacts.verify(folder, read=pace.after)
            except _Stopped:
                return
            except ArtifactCorrupt as error:
                if not folder.exists():  # `infonce gc` took it: what is mapped stays as it was
                    continue
                log.error("an index that was open is damaged and answers no more: %s", error)
                self._indexes.close(key)
                self._found()


class _Stopped(Exception):
    """The gateway ends."""


class _Pace:
    """Holds up who reads more than so many bytes a second."""

    def __init__(self, bytes_per_second: float, *, stop: threading.Event) -> None:
        self._bytes_per_second = bytes_per_second
        self._stop = stop
        self._began = time.monotonic()
        self._num_bytes = 0

    def after(self, num_bytes: int) -> None:
        """So many more were read.

        Raises:
            _Stopped: nothing more is to be read.
        """
        self._num_bytes += num_bytes
        ahead = self._num_bytes / self._bytes_per_second - (time.monotonic() - self._began)
        if self._stop.wait(max(0.0, ahead)):
            raise _Stopped
