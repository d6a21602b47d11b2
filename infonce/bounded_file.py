"""A stranger's archive for the standard library, which believes what such a file says of its own places and lengths."""

import io
import os


class BoundedFile(io.BufferedReader):
    """A file in which no place outside of it is sought, and of which not too much is read at once."""

    def __init__(self, raw: io.RawIOBase, *, max_read_bytes: int, broken: type[Exception]) -> None:
        """`broken` is what the archive's reader raises itself, raised where the file asks for more."""
        super().__init__(raw)
        self._max_read_bytes = max_read_bytes
        self._broken = broken

    def seek(self, target: int, whence: int = os.SEEK_SET, /) -> int:
        if whence == os.SEEK_SET and not 0 <= target <= os.fstat(self.fileno()).st_size:
            raise self._broken(f"offset {target} is outside of the file")
        return super().seek(target, whence)

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > self._max_read_bytes:
            raise self._broken(f"its directory has {size} bytes; the limit is {self._max_read_bytes}")
        return super().read(size)
