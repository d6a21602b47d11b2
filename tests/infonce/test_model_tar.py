"""A model's folder as a tar: equal bytes for equal folders, and nothing but a model comes out of a stranger's."""

import io
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from infonce.errors import ForbiddenFile, InvalidModel, Stopped
from infonce.model_tar import MAX_SIDE_BYTES, MODEL_FILES, pack_model, unpack_model

FILES = {"config.json": b"{}", "model.safetensors": b"weights", "1_Pooling/config.json": b"[]"}


def never() -> bool:
    return False


def packed(path: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    with tarfile.open(path, "w") as tar:
        for member, content in members:
            tar.addfile(member, io.BytesIO(content))
    return path


def member(
    name: str, content: bytes = b"", *, kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    found = tarfile.TarInfo(name)
    found.type, found.linkname, found.size = kind, link, len(content)
    return found, content


def folder_of(path: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_equal_folders_give_equal_bytes_and_come_out_as_they_went_in(tmp_path: Path) -> None:
    for number, files in enumerate((FILES, dict(reversed(FILES.items())))):
        folder = folder_of(tmp_path / str(number), files | {f"other{number}.bin": b"left out"})
        pack_model(folder, tmp_path / f"{number}.tar", stop=never)
    assert (tmp_path / "0.tar").read_bytes() == (tmp_path / "1.tar").read_bytes()
    unpack_model(tmp_path / "0.tar", tmp_path / "out")
    assert contents(tmp_path / "out") == FILES


def test_a_link_in_a_cached_models_folder_is_packed_as_the_file_that_it_leads_to(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "model", {"config.json": b"{}"})
    (tmp_path / "blob").write_bytes(b"weights")
    (folder / "model.safetensors").symlink_to(tmp_path / "blob")
    pack_model(folder, tmp_path / "a.tar", stop=never)
    unpack_model(tmp_path / "a.tar", tmp_path / "out")
    assert contents(tmp_path / "out")["model.safetensors"] == b"weights"


def test_packing_stops_where_it_is_told_and_needs_weights_in_one_file(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        pack_model(folder_of(tmp_path / "a", FILES), tmp_path / "a.tar", stop=lambda: True)
    with pytest.raises(InvalidModel, match=r"no model\.safetensors"):
        pack_model(folder_of(tmp_path / "b", {"config.json": b"{}"}), tmp_path / "b.tar", stop=never)


@pytest.mark.parametrize("root", ["", "./", "my model/", "./a/"])
def test_the_folder_around_the_files_may_have_any_name(tmp_path: Path, root: str) -> None:
    around = [member(root.rstrip("/") or ".", kind=tarfile.DIRTYPE)]
    path = packed(tmp_path / "a.tar", around + [member(root + name, content) for name, content in FILES.items()])
    unpack_model(path, tmp_path / "out")
    assert contents(tmp_path / "out") == FILES


FORBIDDEN: dict[str, Callable[[], list[tuple[tarfile.TarInfo, bytes]]]] = {
    "a pickle": lambda: [member("pytorch_model.bin", pickle.dumps({}))],
    "code": lambda: [member("modeling_own.py", b"print()")],
    "an absolute path": lambda: [member("/etc/config.json", b"{}")],
    "a way out": lambda: [member("a/../../config.json", b"{}")],
    "a way out at the end": lambda: [member("..", kind=tarfile.DIRTYPE)],
    "a symbolic link": lambda: [member("config.json", kind=tarfile.SYMTYPE, link="/etc/passwd")],
    "a hard link": lambda: [member("config.json", kind=tarfile.LNKTYPE, link="/etc/passwd")],
    "a device": lambda: [member("config.json", kind=tarfile.CHRTYPE)],
    "a pipe": lambda: [member("config.json", kind=tarfile.FIFOTYPE)],
    "a file twice": lambda: [member("config.json", b"{}")] * 2,
    "a second root": lambda: [member("a/config.json", b"{}"), member("b/model.safetensors", b"")],
    "an index of shards": lambda: [member("model.safetensors.index.json", b'{"weight_map": {"a": "/etc/passwd"}}')],
    "100,000 files": lambda: [member(f"f{number}", kind=tarfile.DIRTYPE) for number in range(100_000)],
    "a long config": lambda: [member("config.json", b" " * (MAX_SIDE_BYTES + 1))],
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_what_does_not_belong_to_a_model_is_refused(tmp_path: Path, what: str) -> None:
    path = packed(tmp_path / "a.tar", FORBIDDEN[what]())
    with pytest.raises(ForbiddenFile):
        unpack_model(path, tmp_path / "out")
    assert set(contents(tmp_path)) <= {"a.tar", "out/config.json"}


def long_name() -> bytes:
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 1 << 30
    return header.tobuf(tarfile.GNU_FORMAT) + b"a" * 4096


def nested() -> bytes:
    header = tarfile.TarInfo("x")
    header.type = tarfile.XHDTYPE
    return header.tobuf(tarfile.USTAR_FORMAT) * 5_000


BROKEN: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "a zip": lambda: b"PK\3\4" + bytes(1_000),
    "gzip": lambda: b"\x1f\x8b" + bytes(1_000),
    "random bytes": lambda: bytes(range(256)) * 20,
    "a name of a gigabyte": long_name,
    "headers within headers": nested,
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_no_tar_is_refused_as_none(tmp_path: Path, what: str) -> None:
    (tmp_path / "a.tar").write_bytes(BROKEN[what]())
    with pytest.raises(InvalidModel, match="no tar"):
        unpack_model(tmp_path / "a.tar", tmp_path / "out")


@pytest.mark.parametrize("kept", [600, 1_540, 2_000])
def test_a_tar_that_ends_early_is_no_model(tmp_path: Path, kept: int) -> None:
    path = packed(tmp_path / "a.tar", [member("config.json", b"{}"), member("model.safetensors", bytes(1_000))])
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InvalidModel):
        unpack_model(path, tmp_path / "out")


def test_every_file_that_a_model_may_have_is_named_once() -> None:
    assert len(set(MODEL_FILES)) == len(MODEL_FILES)
