"""A zip from a stranger ends in a sentence, whatever is in it."""

import io
import random
import struct
import zipfile
from pathlib import Path

import pytest

from infonce.archive import open_archive
from infonce.errors import DatasetError


def packed(path: Path, members: dict[str, bytes], *, method: int = zipfile.ZIP_DEFLATED) -> Path:
    """A zip of those members."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def read(path: Path, name: str, *, max_unpacked_bytes: int = 1 << 20) -> bytes:
    """All that the member holds."""
    with open_archive(path, max_unpacked_bytes=max_unpacked_bytes) as archive, archive.open(name) as stream:
        return stream.read()


def code_of(path: Path, name: str = "a") -> str:
    """Why the member cannot be read."""
    with pytest.raises(DatasetError) as caught:
        read(path, name)
    return caught.value.issues[0].code


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_member_is_read_as_it_was_written(tmp_path: Path, method: int) -> None:
    content = random.Random(0).randbytes(200_000)
    path = packed(tmp_path / "z", {"top/a": content, "b": b""}, method=method)
    assert read(path, "top/a") == content
    assert read(path, "b") == b""
    with open_archive(path, max_unpacked_bytes=1) as archive:
        assert archive.names == ("top/a", "b")


def test_what_is_no_zip_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"hello", b"PK\x03\x04", b"PK\x05\x06" + b"\xff" * 18):
        (tmp_path / "z").write_bytes(content)
        assert code_of(tmp_path / "z") == "corrupt_zip"


def test_a_bomb_is_stopped_at_the_limit(tmp_path: Path) -> None:
    path = packed(tmp_path / "z", {"a": bytes(64 << 20)})
    assert path.stat().st_size < 100_000
    assert code_of(path) == "decompressed_too_large"


def test_the_limit_is_one_for_all_members(tmp_path: Path) -> None:
    path = packed(tmp_path / "z", {"a": bytes(600), "b": bytes(600)})
    with open_archive(path, max_unpacked_bytes=1_000) as archive:
        assert len(archive.open("a").read()) == 600
        with pytest.raises(DatasetError, match="more than 1000 bytes"):
            archive.open("b").read()


def test_a_size_that_lies_does_not_help(tmp_path: Path) -> None:
    path = packed(tmp_path / "z", {"a": bytes(2_000)})
    content = path.read_bytes()
    path.write_bytes(content.replace(struct.pack("<L", 2_000), struct.pack("<L", 10)))
    assert code_of(path) == "corrupt_zip"


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    path = packed(tmp_path / "z", {"a": b"secret"})
    content = bytearray(path.read_bytes())
    content[6] |= 1  # flags of the local header
    content[content.index(b"PK\x01\x02") + 8] |= 1  # and of the directory
    path.write_bytes(content)
    assert code_of(path) == "encrypted_zip"


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_unpack_without_bound_are_refused(tmp_path: Path, method: int) -> None:
    assert code_of(packed(tmp_path / "z", {"a": b"x" * 100}, method=method)) == "unsupported_compression"


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "z", "w") as archive:
        archive.writestr("a", b"1")
        archive.writestr("a", b"2")
    assert code_of(tmp_path / "z") == "ambiguous_member"


def test_a_directory_of_a_thirty_thousand_members_is_not_loaded(tmp_path: Path) -> None:
    packed(tmp_path / "z", {f"{n:06}": b"" for n in range(30_000)}, method=zipfile.ZIP_STORED)
    with pytest.raises(DatasetError, match="the limit is 1048576"):
        read(tmp_path / "z", "000000")


def test_no_change_of_bytes_raises_anything_else(tmp_path: Path) -> None:
    path = packed(tmp_path / "z", {"a": b"hello world " * 200, "b": b"x"})
    good, draw = path.read_bytes(), random.Random(1)
    for _ in range(2_000):
        content = bytearray(good[: draw.randint(1, len(good))] if draw.random() < 0.1 else good)
        for _ in range(draw.randint(1, 4)):
            content[draw.randrange(len(content))] = draw.randrange(256)
        path.write_bytes(content)
        try:
            with open_archive(path, max_unpacked_bytes=10_000) as archive:
                for name in archive.names:
                    with archive.open(name) as stream:
                        assert isinstance(stream, io.BufferedReader) and len(stream.read()) <= 10_000
        except DatasetError as error:
            assert error.issues[0].detail
