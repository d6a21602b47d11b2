import json
import os
import stat
from hashlib import sha256
from pathlib import Path

import pytest

from service.store.artifacts import CHECKSUMS, Artifacts
from service.store.errors import ArtifactCorrupt, ArtifactsUnavailable, Conflict, InvalidValue, SchemaMismatch


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    artifacts = Artifacts(tmp_path / "artifacts")
    artifacts.prepare()
    return artifacts


def stage(artifacts: Artifacts) -> Path:
    """A folder as a job leaves it: nested files, one private, and a manifest of its own."""
    staging = artifacts.run_path("ftjob-1", 1) / "staging"
    (staging / "1_Pooling").mkdir(parents=True)
    (staging / "model.safetensors").write_bytes(b"weights" * 1000)
    (staging / "model.safetensors").chmod(0o600)
    (staging / "1_Pooling" / "config.json").write_text("{}")
    (staging / "manifest.json").write_text('{"count": 3}')
    (staging / "empty").touch()
    return staging


def published(artifacts: Artifacts) -> Path:
    target = artifacts.model_path("m1")
    staging = stage(artifacts)
    artifacts.seal(staging)
    artifacts.publish(staging, target)
    return target


def test_preparing_twice_changes_nothing(artifacts: Artifacts) -> None:
    part = artifacts.new_part()
    part.touch()
    artifacts.prepare()
    assert sorted(path.name for path in artifacts.root.iterdir()) == [
        *(".layout", "audits", "collections", "evaluations", "exports", "files", "models", "runs", "tmp", "uploads"),
        "vectors",
    ]
    assert part.exists()


def test_a_newer_layout_is_refused(artifacts: Artifacts) -> None:
    (artifacts.root / ".layout").write_text("2\n")
    with pytest.raises(SchemaMismatch, match="layout 2, this program knows 1"):
        artifacts.prepare()


def test_a_root_that_cannot_be_made_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ArtifactsUnavailable, match="file"):
        Artifacts(tmp_path / "file" / "root").prepare()


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "/etc", "a\x00", "é", ".hidden", "a\n", "x" * 300])
def test_no_name_leads_out_of_its_folder(artifacts: Artifacts, name: str) -> None:
    for ask in (
        artifacts.file_path,
        artifacts.model_path,
        lambda name: artifacts.collection_version_path(name, "v"),
        lambda name: artifacts.collection_version_path("c", name),
        lambda name: artifacts.run_path(name, 1),
    ):
        with pytest.raises(InvalidValue):
            ask(name)


def test_a_published_folder_is_whole_and_readable_by_all(artifacts: Artifacts) -> None:
    target = published(artifacts)
    artifacts.verify(target)
    listed = json.loads((target / CHECKSUMS).read_text())["files"]
    assert set(listed) == {"model.safetensors", "1_Pooling/config.json", "manifest.json", "empty"}
    assert listed["model.safetensors"]["bytes"] == 7000
    assert not (artifacts.run_path("ftjob-1", 1) / "staging").exists()
    modes = {stat.S_IMODE(path.stat().st_mode) for path in target.rglob("*") if path.is_file()}
    assert modes == {0o644}
    assert {stat.S_IMODE(path.stat().st_mode) for path in (target, target / "1_Pooling")} == {0o755}


def test_sealing_again_lists_what_is_there_now(artifacts: Artifacts) -> None:
    staging = stage(artifacts)
    artifacts.seal(staging)
    (staging / "manifest.json").write_text("changed")
    (staging / "empty").unlink()
    artifacts.seal(staging)
    artifacts.verify(staging)
    assert set(json.loads((staging / CHECKSUMS).read_text())["files"]) & {"empty", CHECKSUMS} == set()


def test_a_link_is_not_sealed(artifacts: Artifacts) -> None:
    staging = stage(artifacts)
    (staging / "link").symlink_to("/etc/passwd")
    with pytest.raises(InvalidValue, match="link is no plain file"):
        artifacts.seal(staging)


def test_every_file_is_synced_before_the_rename_and_the_folder_after(
    artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    staging, target = stage(artifacts), artifacts.model_path("m1")
    done: list[str] = []
    real_fsync, real_rename = os.fsync, Path.rename

    def fsync(handle: int) -> None:
        done.append(str(Path(f"/proc/self/fd/{handle}").readlink()))
        real_fsync(handle)

    def rename(path: Path, to: Path) -> Path:
        done.append(f"-> {to}")
        return real_rename(path, to)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "rename", rename)
    artifacts.seal(staging)
    artifacts.publish(staging, target)
    before, after = done[: done.index(f"-> {target}")], done[done.index(f"-> {target}") + 1 :]
    contents = list(target.rglob("*"))
    assert set(before) == {str(staging), *(str(staging / path.relative_to(target)) for path in contents)}
    assert before.index(str(staging / CHECKSUMS)) > max(
        before.index(str(staging / n)) for n in ("empty", "manifest.json")
    )
    assert str(target.parent) in after


@pytest.mark.parametrize("position", [0, 3_500, 6_999])
def test_one_flipped_bit_is_found_and_named(artifacts: Artifacts, position: int) -> None:
    target = published(artifacts)
    content = bytearray((target / "model.safetensors").read_bytes())
    content[position] ^= 1
    (target / "model.safetensors").write_bytes(content)
    with pytest.raises(ArtifactCorrupt, match=r"m1/model\.safetensors has another SHA-256"):
        artifacts.verify(target)
    artifacts.verify(target, part="manifest")
    with pytest.raises(ArtifactCorrupt, match="another SHA-256"):
        artifacts.verify(target, part="model.")


def test_a_short_and_a_missing_file_are_found_and_named(artifacts: Artifacts) -> None:
    target = published(artifacts)
    (target / "manifest.json").write_text("")
    with pytest.raises(ArtifactCorrupt, match=r"manifest\.json has another size"):
        artifacts.verify(target)
    (target / "manifest.json").unlink()
    with pytest.raises(ArtifactCorrupt) as caught:
        artifacts.verify(target)
    assert (caught.value.folder, caught.value.file) == ("m1", "manifest.json")


@pytest.mark.parametrize(
    "text",
    [None, "", "[]", "null", '{"files": []}', '{"files": {"x": 3}}', '{"files": {"../x": {"bytes": 0, "sha256": ""}}}'],
)
def test_a_damaged_list_of_checksums_is_found(artifacts: Artifacts, text: str | None) -> None:
    target = published(artifacts)
    (target / CHECKSUMS).unlink()
    if text is not None:
        (target / CHECKSUMS).write_text(text)
    with pytest.raises(ArtifactCorrupt, match=CHECKSUMS):
        artifacts.verify(target)


def test_an_upload_is_published_and_never_overwritten(artifacts: Artifacts) -> None:
    target = artifacts.file_path("file-1")
    for number, text in enumerate(["first", "second"]):
        part = artifacts.new_part()
        part.write_text(text)
        if number == 0:
            artifacts.publish(part, target)
        else:
            with pytest.raises(Conflict, match="never overwritten"):
                artifacts.publish(part, target)
    assert target.read_text() == "first"


def test_nothing_is_published_or_discarded_outside_the_root(artifacts: Artifacts, tmp_path: Path) -> None:
    outside = tmp_path / "precious"
    outside.mkdir()
    (artifacts.root / "models" / "link").symlink_to(outside)
    for path in (outside, artifacts.root, artifacts.root / "models" / "link", artifacts.root / ".." / "precious"):
        with pytest.raises(InvalidValue):
            artifacts.discard(path)
    with pytest.raises(InvalidValue):
        artifacts.publish(artifacts.new_part(), tmp_path / "new")
    assert outside.is_dir()


def test_what_is_discarded_is_gone_but_stays_readable_where_it_is_open(artifacts: Artifacts) -> None:
    target = published(artifacts)
    with (target / "manifest.json").open() as file:
        artifacts.discard(target)
        artifacts.discard(target)  # again: nothing happens
        assert file.read() == '{"count": 3}'
    assert list(artifacts.root.rglob("*.safetensors")) == list((artifacts.root / "tmp").iterdir()) == []


def test_only_old_unfinished_things_are_swept(artifacts: Artifacts) -> None:
    old, fresh, folder = (artifacts.new_part() for _ in range(3))
    old.touch()
    fresh.touch()
    (folder / "inner").mkdir(parents=True)
    for path in (old, folder):
        os.utime(path, (0, 0))
    assert artifacts.sweep_tmp(3600) == 2
    assert list((artifacts.root / "tmp").iterdir()) == [fresh]


def test_an_upload_that_is_gone_or_cut_is_named(artifacts: Artifacts) -> None:
    path = artifacts.file_path("file-1")
    digest = sha256(b"ab").hexdigest()
    with pytest.raises(ArtifactCorrupt, match="file-1 is gone; upload the file again"):
        artifacts.stored_file("file-1", num_bytes=3, sha256=digest)
    path.write_bytes(b"ab")
    with pytest.raises(ArtifactCorrupt, match="has 2 bytes instead of 3"):
        artifacts.stored_file("file-1", num_bytes=3, sha256=digest)
    assert artifacts.stored_file("file-1", num_bytes=2, sha256=digest) == path
    path.write_bytes(b"aB")
    with pytest.raises(ArtifactCorrupt, match="has another SHA-256"):
        artifacts.stored_file("file-1", num_bytes=2, sha256=digest)
