"""A backup of a home that is written to meanwhile is one state of it, and a home made of it is that state."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from infonce.hub import Hub, HubMode
from service.app import Seams, create_app
from service.settings import GatewaySettings
from service.store import files
from service.store.backup import Summary, back_up, restore
from service.store.backup_folder import MANIFEST, Copier
from service.store.errors import ArtifactCorrupt, Conflict, InvalidSetting, SchemaMismatch, StoreError
from service.store.records import DEFAULT_PROJECT
from service.store.settings import StoreSettings
from service.store.tables import metadata
from tests.faults.homes import Home


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Three files, a part of a fourth, a model, an export, an evaluation and an index."""
    home = Home.new(tmp_path / "home")
    for number in range(3):
        file = home.upload(f"file {number}".encode() * 1_000)
    home.part()
    home.export()
    home.evaluation(file)
    home.model(lambda folder: (folder / "model.safetensors").write_bytes(b"weights" * 1_000))
    home.index(home.collection(), ["a", "b"])
    yield home
    home.close()


def take(home: Home, target: Path, *, leave_out_damaged: bool = False) -> Summary:
    silent = lambda line: None  # noqa: E731
    return back_up(home.url, home.artifacts, target=target, leave_out_damaged=leave_out_damaged, tell=silent)


def put_back(source: Path, home: Path) -> Home:
    restore(source, home=home, tell=lambda line: None)
    return Home.open(home)


def rows(home: Home) -> dict[str, list[tuple[object, ...]]]:
    with home.database.read() as tx:
        return {
            name: sorted((tuple(row) for row in tx.execute(sa.select(table))), key=repr)
            for name, table in metadata.tables.items()
        }


def contents(home: Home) -> dict[str, bytes]:
    """What rows name, by its path below the root."""
    root = home.artifacts.root
    names = ("files", "uploads", "models", "exports", "evaluations", "collections")
    found = [path for name in names for path in (root / name).rglob("*")]
    return {str(path.relative_to(root)): path.read_bytes() for path in found if path.is_file()}


def test_a_restored_home_has_the_same_rows_and_bytes_and_serves(home: Home, tmp_path: Path) -> None:
    made = take(home, tmp_path / "backup")
    again = put_back(tmp_path / "backup", tmp_path / "again")
    assert rows(again) == rows(home) and contents(again) == contents(home)
    assert made.num_files == len(contents(home)) + 1 and made.damaged == ()
    store = StoreSettings(database_url=again.url, artifacts=again.artifacts.root)
    settings = GatewaySettings(store=store, hub=Hub(models_root=tmp_path, mode=HubMode.OFF))
    with TestClient(create_app(settings, Seams(ring=lambda job_id, queue: None, ping=lambda: True))) as http:
        answer = http.post("/v1/collections/faq/query", json={"vector": [1.0, 0.0, 0.0, 0.0]})
    assert {hit["id"] for hit in answer.json()["hits"]} == {"a", "b"}
    again.close()


def test_a_version_that_has_no_index_yet_is_backed_up_as_its_row(home: Home, tmp_path: Path) -> None:
    with home.database.write() as tx:
        tx.execute(sa.text("UPDATE collections SET active_version = NULL"))
        tx.execute(sa.text("UPDATE versions SET folder = NULL, status = 'building'"))
    assert take(home, tmp_path / "backup").damaged == ()
    again = put_back(tmp_path / "backup", tmp_path / "again")
    assert rows(again) == rows(home) and rows(home)["versions"]
    again.close()


def test_a_backup_while_files_come_and_go_names_only_what_it_holds(home: Home, tmp_path: Path) -> None:
    stop, num = threading.Event(), 0

    def write() -> None:
        while not stop.is_set():
            record = home.upload(os.urandom(20_000))
            doomed = home.upload(b"soon gone")
            with home.database.write() as tx:
                files.delete_file(tx, DEFAULT_PROJECT, id=doomed.id)
            home.artifacts.discard(home.artifacts.file_path(doomed.id))
            written.append(record.id)

    written: list[str] = []
    thread = threading.Thread(target=write)
    thread.start()
    try:
        for num in range(4):
            before = list(written)
            take(home, tmp_path / f"backup-{num}")
            again = put_back(tmp_path / f"backup-{num}", tmp_path / f"again-{num}")
            with again.database.read() as tx:
                names = {row.id for row in tx.execute(sa.text("SELECT id FROM files"))}
            for record in rows(again)["files"]:
                again.artifacts.stored_file(str(record[0]), num_bytes=int(str(record[5])), sha256=str(record[6]))
            assert set(before) <= names == {Path(name).name for name in contents(again) if name.startswith("files/")}
            again.close()
    finally:
        stop.set()
        thread.join()
    print(f"{len(written)} files written during {num + 1} backups")


def test_a_flipped_bit_in_a_backup_is_refused_by_name_and_leaves_no_home(home: Home, tmp_path: Path) -> None:
    take(home, tmp_path / "backup")
    for path in sorted(path for path in (tmp_path / "backup").rglob("*") if path.is_file()):
        sound = path.read_bytes()
        path.write_bytes(bytes([sound[0] ^ 1]) + sound[1:])
        with pytest.raises(ArtifactCorrupt, match=path.name):
            put_back(tmp_path / "backup", tmp_path / "again")
        path.unlink()
        with pytest.raises(StoreError, match=path.name):
            put_back(tmp_path / "backup", tmp_path / "again")
        path.write_bytes(sound)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["backup", "home"]
    put_back(tmp_path / "backup", tmp_path / "again").close()


def test_a_damaged_artifact_is_named_and_may_be_left_out(home: Home, tmp_path: Path) -> None:
    folder = next((home.artifacts.root / "models").iterdir())
    (folder / "model.safetensors").write_bytes(b"w3ights")
    with pytest.raises(ArtifactCorrupt, match=r"model\.safetensors.*--leave-out-damaged"):
        take(home, tmp_path / "backup")
    assert not (tmp_path / "backup").exists()
    made = take(home, tmp_path / "backup", leave_out_damaged=True)
    assert made.damaged == (f"models/{folder.name}",)
    again = put_back(tmp_path / "backup", tmp_path / "again")
    assert [name for name in contents(again) if name.startswith("models")] == []
    again.close()


def test_nothing_is_written_over_and_nothing_newer_or_unfinished_is_read(home: Home, tmp_path: Path) -> None:
    take(home, tmp_path / "backup")
    with pytest.raises(Conflict, match="not empty"):
        take(home, tmp_path / "backup")
    with pytest.raises(Conflict, match="not empty"):
        put_back(tmp_path / "backup", home.path)
    text = (tmp_path / "backup" / MANIFEST).read_text()
    (tmp_path / "backup" / MANIFEST).unlink()
    with pytest.raises(Conflict, match="never finished"):
        put_back(tmp_path / "backup", tmp_path / "again")
    content = json.loads(text)["content"] | {"schema": "9999"}
    digest = sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    (tmp_path / "backup" / MANIFEST).write_text(json.dumps({"digest": digest, "content": content}))
    with pytest.raises(SchemaMismatch, match="update the program"):
        put_back(tmp_path / "backup", tmp_path / "again")


def test_a_server_is_backed_up_with_its_own_tool(home: Home, tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="pg_dump"):
        back_up(
            "postgresql://h/d",
            home.artifacts,
            target=tmp_path / "backup",
            leave_out_damaged=False,
            tell=print,
        )


def test_a_long_copy_says_every_two_seconds_how_far_it_is(tmp_path: Path) -> None:
    told: list[str] = []
    seconds = iter(range(100))
    (tmp_path / "file").write_bytes(b"x" * (5 << 20))
    copier = Copier(tmp_path, tmp_path / "copy", tell=told.append, clock=lambda: float(next(seconds)))
    copier.copy("file", None, remedy="")
    copier.copy("file", None, remedy="")
    assert told[0] == f"0 files and {2 << 20:,} bytes are copied …" and told[-1].startswith("1 files and ")
    assert len(told) < 10


def infonce(*words: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "service.cli", *map(str, words)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("INFONCE_")}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_the_commands_say_what_they_made_and_what_stands_in_the_way(home: Home, tmp_path: Path) -> None:
    made = infonce("backup", tmp_path / "backup", "--home", home.path)
    assert made.returncode == 0 and "holds 15 files" in made.stdout, made
    done = infonce("restore", tmp_path / "backup", "--home", tmp_path / "again")
    assert done.returncode == 0 and "infonce serve --home" in done.stdout, done
    refused = infonce("restore", tmp_path / "backup", "--home", tmp_path / "again")
    assert refused.returncode == 1 and refused.stderr.startswith("infonce: ") and "not empty" in refused.stderr
    with closing(Home.open(tmp_path / "again")) as again:
        assert rows(again) == rows(home)
    shutil.rmtree(tmp_path / "again")
