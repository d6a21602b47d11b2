"""gzip and zstd around a file from a stranger: unpacked piece by piece, with a limit on the size and on the ratio.

RFC 1952 (gzip) and RFC 8878 (zstd); one stream and nothing behind it.
"""

import io
import sys
import zlib
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol

from infonce.errors import DatasetError, Issue

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_MAGIC: Final = {"gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd"}
_PIECE_BYTES: Final = 1 << 16
_MAX_RATIO: Final = 100  # texts reach 3 to 20; a bomb of zeros 1,000
_FREE_BYTES: Final = 1 << 20  # unpacked before the ratio counts: a small file of equal lines is no bomb
_ZSTD_WINDOW_LOG: Final = 23  # 8 MB, which RFC 8878 asks every reader for; levels up to 19 need no more
_GZIP_WINDOW: Final = 31  # zlib's word for "a gzip header, and the largest window"


def compression_of(head: bytes) -> str | None:
    """What the first four bytes of a file say it is packed with: gzip, zstd, or nothing."""
    return next((name for name, magic in _MAGIC.items() if head.startswith(magic)), None)


class Unpacked(io.RawIOBase):
    """The bytes that a packed file holds.

    Reading raises `DatasetError` (`decompressed_too_large`, `corrupt_gzip`, `corrupt_zstd`).
    """

    def __init__(self, packed: BinaryIO, kind: str, *, max_bytes: int) -> None:
        self._packed = packed
        self._kind = kind
        self._max_bytes = max_bytes
        self._decoder = _decoder(kind)
        self._waiting = b""
        self._ended = False
        self._num_packed = self._num_unpacked = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        space = memoryview(buffer)
        content = self._next(min(len(space), _PIECE_BYTES))
        self._count(len(content))
        space[: len(content)] = content
        return len(content)

    def _next(self, size: int) -> bytes:
        """The next bytes, at most `size`; none at the end of a whole stream."""
        while not self._ended:
            try:
                content = self._decoder.decompress(self._waiting, size)
            except (zlib.error, zstd.ZstdError) as error:
                raise self._corrupt(f"cannot be unpacked ({error})") from None
            self._waiting = getattr(self._decoder, "unconsumed_tail", b"")  # zstd keeps what waits to itself
            if self._decoder.eof:
                self._ended = True
                if self._decoder.unused_data or self._packed.read(1):
                    raise self._corrupt("goes on after its end, with another stream or with foreign bytes")
            if content:
                return content
            if not self._ended and not self._waiting:
                self._waiting = self._packed.read(_PIECE_BYTES)
                self._num_packed += len(self._waiting)
                if not self._waiting:
                    raise self._corrupt("ends early, so that a part of it is missing")
        return b""

    def _count(self, num_bytes: int) -> None:
        self._num_unpacked += num_bytes
        if self._num_unpacked > self._max_bytes:
            limit = f"more than {self._max_bytes} bytes when unpacked"
        elif self._num_unpacked > max(_FREE_BYTES, _MAX_RATIO * self._num_packed):
            limit = f"more than {_MAX_RATIO} times its size when unpacked"
        else:
            return
        raise _broken("decompressed_too_large", f"the {self._kind} file holds {limit}; split it or send it unpacked")

    def _corrupt(self, what: str) -> DatasetError:
        return _broken(f"corrupt_{self._kind}", f"the {self._kind} file {what}; pack it anew")


class _Decoder(Protocol):
    """What `zlib` and `zstd` share."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def _decoder(kind: str) -> _Decoder:
    if kind == "gzip":
        return zlib.decompressobj(_GZIP_WINDOW)
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG})


def _broken(code: str, detail: str) -> DatasetError:
    return DatasetError([Issue(line=None, field=None, code=code, detail=detail)])
