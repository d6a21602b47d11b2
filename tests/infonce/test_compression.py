"""What is packed is read as if it were not, and a bomb or a broken stream is refused."""

import gzip
import io
import sys
import tracemalloc
import zlib
from pathlib import Path

import pytest

from infonce.compression import Unpacked
from infonce.errors import DatasetError
from infonce.file_limits import FileLimits
from infonce.formats import check_pairs, read_pairs

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PACK = {"gzip": gzip.compress, "zstd": zstd.compress}
KINDS = pytest.mark.parametrize("kind", PACK)
LINES = b"".join(b'{"query": "q%d", "positive": "p%d"}\n' % (number, number) for number in range(2_000))


def code(path: Path, content: bytes, limits: FileLimits | None = None) -> str:
    """Of the one issue that the file has."""
    path.write_bytes(content)
    with pytest.raises(DatasetError) as caught:
        check_pairs(path, limits or FileLimits())
    return caught.value.issues[0].code


@KINDS
def test_a_packed_file_holds_what_the_plain_one_holds(tmp_path: Path, kind: str) -> None:
    (tmp_path / "packed").write_bytes(PACK[kind](LINES))
    (tmp_path / "plain").write_bytes(LINES)
    assert list(read_pairs(tmp_path / "packed")) == list(read_pairs(tmp_path / "plain"))
    (tmp_path / "table").write_bytes(PACK[kind](b"query,positive\na,b\n"))
    assert check_pairs(tmp_path / "table").pairs == 1


@KINDS
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_the_bytes_are_the_same_however_they_are_asked_for(kind: str, size: int) -> None:
    stream = Unpacked(io.BytesIO(PACK[kind](LINES)), kind, max_bytes=1 << 20)
    assert b"".join(iter(lambda: stream.read(size), b"")) == LINES


@KINDS
@pytest.mark.parametrize("missing", [1, 4, 8, 100])
def test_a_truncated_stream_is_refused(tmp_path: Path, kind: str, missing: int) -> None:
    assert code(tmp_path / "f", PACK[kind](LINES)[:-missing]) == f"corrupt_{kind}"


@KINDS
@pytest.mark.parametrize("more", [b"x", b"\0" * 100_000, gzip.compress(LINES), zstd.compress(LINES)])
def test_what_stands_behind_the_stream_is_refused(tmp_path: Path, kind: str, more: bytes) -> None:
    assert code(tmp_path / "f", PACK[kind](LINES) + more) == f"corrupt_{kind}"


@KINDS
def test_every_changed_byte_is_refused_or_harmless(tmp_path: Path, kind: str) -> None:
    packed = PACK[kind](LINES[:400])
    for place in range(4, len(packed)):
        (tmp_path / "f").write_bytes(packed[:place] + bytes([packed[place] ^ 0x55]) + packed[place + 1 :])
        try:
            check_pairs(tmp_path / "f")
        except DatasetError as error:
            assert error.issues[0].detail


@KINDS
def test_a_bomb_is_refused_early_and_in_little_memory(tmp_path: Path, kind: str) -> None:
    bomb = PACK[kind](b"\0" * (200 << 20)) if kind == "zstd" else gzip_of_zeros(200)
    assert len(bomb) < 300_000
    tracemalloc.start()
    assert code(tmp_path / "f", bomb) == "decompressed_too_large"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


def gzip_of_zeros(num_megabytes: int) -> bytes:
    """Packed without holding it."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(num_megabytes)) + packer.flush()


@KINDS
def test_more_than_the_limit_is_refused(tmp_path: Path, kind: str) -> None:
    limits = FileLimits(max_unpacked_bytes=len(LINES))
    (tmp_path / "f").write_bytes(PACK[kind](LINES))
    assert check_pairs(tmp_path / "f", limits).pairs == 2_000
    assert code(tmp_path / "f", PACK[kind](LINES + b"\n"), limits) == "decompressed_too_large"


@pytest.mark.parametrize("outer", PACK)
@pytest.mark.parametrize("inner", PACK)
def test_nothing_is_unpacked_twice(tmp_path: Path, outer: str, inner: str) -> None:
    assert code(tmp_path / "f", PACK[outer](PACK[inner](LINES))) == "nested_compression"


def test_a_window_that_takes_much_memory_is_refused(tmp_path: Path) -> None:
    options = {zstd.CompressionParameter.window_log: 27, zstd.CompressionParameter.enable_long_distance_matching: 1}
    packer = zstd.ZstdCompressor(options=options)
    assert code(tmp_path / "f", packer.compress(LINES) + packer.flush()) == "corrupt_zstd"
