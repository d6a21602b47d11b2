"""What is read of a sealed folder is what was written, and no more of it is in memory than was asked for."""

import tracemalloc
from pathlib import Path

import pytest

from service.store.artifacts import Artifacts
from service.store.errors import ArtifactCorrupt
from service.store.sealed import read_sealed, sealed_lines

NAME = "lines.jsonl"


def sealed(folder: Path, content: bytes) -> Path:
    folder.mkdir()
    (folder / NAME).write_bytes(content)
    Artifacts(folder.parent).seal(folder)
    return folder


@pytest.mark.parametrize("content", [b"", b"a\nb\nc\n", b"a\n\nb", b"\r\n" * 3])
def test_a_window_is_a_slice_of_the_lines(tmp_path: Path, content: bytes) -> None:
    folder, lines = sealed(tmp_path / "f", content), content.splitlines(keepends=True)
    assert read_sealed(folder, NAME) == content
    for start in range(5):
        for count in range(4):
            window = sealed_lines(folder, NAME, start=start, count=count)
            assert (window.found, window.total) == (lines[start : start + count], len(lines))


def test_of_a_long_file_only_the_window_is_in_memory(tmp_path: Path) -> None:
    folder = sealed(tmp_path / "f", (b"x" * 999 + b"\n") * 20_000)
    tracemalloc.start()
    window = sealed_lines(folder, NAME, start=19_990, count=100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (len(window.found), window.total) == (10, 20_000) and peak < 1 << 20


def test_damage_behind_the_window_is_found_too(tmp_path: Path) -> None:
    folder = sealed(tmp_path / "f", b"a\nb\nc\n")
    (folder / NAME).write_bytes(b"a\nb\nd\n")
    with pytest.raises(ArtifactCorrupt, match="not the file that was written; do this"):
        sealed_lines(folder, NAME, start=0, count=1, remedy="do this")
    with pytest.raises(ArtifactCorrupt, match="cannot be read"):
        read_sealed(folder, "gone")
