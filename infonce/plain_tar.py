"""Files of a folder as one tar without owners, modes and times: equal files give equal bytes, whoever packs them."""

import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from infonce.errors import Stopped


def pack_files(folder: Path, target: Path, *, names: Sequence[str], stop: Callable[[], bool]) -> None:
    """The target is a tar of these files of the folder, in that order.

    Raises:
        Stopped: `stop()` was true at a chunk's edge.
    """
    with tarfile.open(target, "w", format=tarfile.GNU_FORMAT) as tar:  # 8 GB and more without a header of its own
        for name in names:
            member = tarfile.TarInfo(name)  # of mode 644, no owner, and no time
            member.size = (folder / name).stat().st_size
            with (folder / name).open("rb") as content:
                tar.addfile(member, _Stoppable(content, stop))


class _Stoppable:
    """A file that is read until somebody wants an end."""

    def __init__(self, content: IO[bytes], stop: Callable[[], bool]) -> None:
        self._content = content
        self._stop = stop

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes.

        Raises:
            Stopped: an end is wanted.
        """
        if self._stop():
            raise Stopped("stopped while files were packed")
        return self._content.read(size)
