import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from service.store import brought, catalog, collection_records, documents, files, jobs, keys, records, signals, tables
from service.store.changes import Embedded
from service.store.database import MIGRATIONS, Database, migrate
from service.store.documents import NewDocument
from service.store.errors import SchemaMismatch
from service.store.evaluations import EvaluationRecord, insert_evaluation
from service.store.exports import ExportRecord
from service.store.uploads import PartRecord, UploadRecord

RECORD_OF = {
    "jobs": records.JobRecord,
    "job_events": records.EventRecord,
    "files": records.FileRecord,
    "models": records.ModelRecord,
    "exports": ExportRecord,
    "uploads": UploadRecord,
    "upload_parts": PartRecord,
    "evaluations": EvaluationRecord,
    "collections": collection_records.CollectionRecord,
    "versions": collection_records.VersionRecord,
    "api_keys": records.KeyRecord,
    "projects": records.ProjectRecord,
    "repeats": records.RepeatRecord,
    "webhook_endpoints": signals.EndpointRecord,
    "webhook_deliveries": signals.DeliveryRecord,
    "workers": signals.WorkerRecord,
}


@pytest.fixture
def postgres_url(
    request: pytest.FixtureRequest, postgres: Callable[[str], str], postgres_command: Callable[[str], None]
) -> str:
    """A database of the test's own: these tests change the schema."""
    name = f"own{zlib.crc32(request.node.name.encode())}"
    postgres_command(f"CREATE DATABASE {name}")
    migrate(postgres(name))
    return postgres(name)


def shape(tx: sa.Connection) -> dict[str, Any]:
    """All that a database knows of its tables, but for the order of tables and columns."""
    inspector = sa.inspect(tx)
    return {
        name: [
            sorted((c["name"], str(c["type"]), c["nullable"]) for c in inspector.get_columns(name)),
            inspector.get_pk_constraint(name)["constrained_columns"],
            sorted((i["name"], i["column_names"], i["unique"]) for i in inspector.get_indexes(name)),
            sorted((u["name"], u["column_names"]) for u in inspector.get_unique_constraints(name)),
            sorted((f["constrained_columns"], f["referred_table"]) for f in inspector.get_foreign_keys(name)),
        ]
        for name in inspector.get_table_names()
        if name != "alembic_version"
    }


def test_the_migrations_make_exactly_the_tables(database: Database) -> None:
    with database.write() as tx:
        assert compare_metadata(MigrationContext.configure(tx, opts={"compare_type": True}), tables.metadata) == []
        migrated = shape(tx)
        tables.metadata.drop_all(tx)
        tables.metadata.create_all(tx)
        assert shape(tx) == migrated


@pytest.mark.parametrize("name", RECORD_OF)
def test_a_table_has_its_records_fields(name: str) -> None:
    columns = set(tables.metadata.tables[name].columns.keys())
    assert columns == {field.name for field in fields(RECORD_OF[name])}


def test_the_code_knows_the_newest_step_and_the_history_is_one_line() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    script = ScriptDirectory.from_config(config)
    assert script.get_heads() == [tables.SCHEMA_VERSION]


@pytest.mark.parametrize("to", ["-1", "base"])
def test_steps_can_be_undone_and_done_again(url: str, to: str) -> None:
    from alembic import command

    database = Database.open(url)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with database.write() as tx:
        before = shape(tx)
        config.attributes["connection"] = tx
        command.downgrade(config, to)
        earlier = shape(tx)
    assert earlier != before
    assert to != "base" or earlier == {}
    migrate(url)
    with database.read() as tx:
        assert shape(tx) == before
    database.close()


def test_rows_of_the_first_schema_are_kept(url: str) -> None:
    from alembic import command

    database, config = Database.open(url), Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    key = {
        "id": "k",
        "project": "old",
        "name": "n",
        "secret_sha256": b"s" * 32,
        "scopes": '["admin"]',
        "created_at": 7.0,
    }
    columns = ", ".join(key)
    with database.write() as tx:
        config.attributes["connection"] = tx
        command.downgrade(config, "0001")
        tx.execute(sa.text(f"INSERT INTO api_keys ({columns}) VALUES (:{', :'.join(key)})"), key)
    migrate(url)
    with database.read() as tx:
        assert tx.execute(sa.select(tables.projects.c.id)).scalars().all() == ["old"]
        kept = tables.record_of(records.KeyRecord, tx.execute(sa.select(tables.api_keys)).one())
    assert (kept.project, kept.expires_at, kept.revoked_at) == ("old", None, None)
    database.close()


def fill(tx: sa.Connection, make_job: Callable[..., Any], make_file: Callable[..., Any], collection: Any) -> None:
    """A row in every table of the first schema, each referring to others where it can."""
    job = make_job(id="ftjob-1", status=records.JobStatus.SUCCEEDED, metadata={"team": "search"})
    jobs.insert(tx, job)
    files.insert_file(tx, make_file())
    keys.create(tx, "default", name="k", now=1.0)
    common: dict[str, Any] = {"created_at": 2.0, "job_id": job.id, "fingerprint": "f"}
    model: dict[str, Any] = {"id": "ft:a:b:c", "project": "default", "folder": "m", "parent": "p", "summary": {}}
    model |= {"dimensions": 2, "max_tokens": 8, "metadata": job.metadata}
    catalog.insert_model(tx, records.ModelRecord(**model, **common))
    catalog.insert_collection(tx, collection)
    documents.upsert(tx, collection, documents=[NewDocument(id="d", vector=b"\0" * 8, metadata={"n": 1})])
    version = collection_records.VersionRecord(
        id="ver-1", collection_id=collection.id, model=None, dimension=2, count=1, watermark=1, folder="v", **common
    )
    catalog.insert_version_and_activate(tx, version)


def test_every_row_survives_a_step_back_and_forth(
    url: str, make_job: Callable[..., Any], make_file: Callable[..., Any], make_collection: Callable[..., Any]
) -> None:
    from alembic import command

    database, config = Database.open(url), Config()
    config.set_main_option("script_location", str(MIGRATIONS))

    def rows() -> dict[str, list[tuple[Any, ...]]]:
        searched = ("document_vectors", "deletions", "brought_vectors")
        told = ("webhook_endpoints", "webhook_deliveries", "workers", "curve_points")
        later = ("projects", "repeats", "evaluations", "uploads", "upload_parts", "exports", *searched, *told)
        kept = [table for name, table in tables.metadata.tables.items() if name not in later]
        with database.read() as tx:
            return {table.name: [tuple(row) for row in tx.execute(sa.select(table))] for table in kept}

    with database.write() as tx:
        fill(tx, make_job, make_file, make_collection())
    before = rows()
    assert all(before.values())
    with database.write() as tx:
        config.attributes["connection"] = tx
        command.downgrade(config, "0001")
    migrate(url)
    assert rows() == before
    database.close()


def test_a_step_back_leaves_nothing_that_the_schema_before_does_not_know(
    url: str, make_job: Callable[..., Any], make_file: Callable[..., Any]
) -> None:
    from alembic import command

    database, config = Database.open(url), Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    kinds, kept = records.JobKind, make_job(phase=records.Phase.MINING)
    new = [make_job(kind=kind) for kind in (kinds.MINE, kinds.EVALUATE, kinds.ESTIMATE)]
    mined, corpus = make_file(parent="file-0", job_id=new[0].id), make_file(purpose=records.FilePurpose.CORPUS)
    with database.write() as tx:
        for job in (kept, *new):
            jobs.insert(tx, job)
        for file in (mined, corpus):
            files.insert_file(tx, file)
        evaluation = {"id": "eval-1", "project": "default", "created_at": 1.0, "job_id": new[1].id, "file_id": "f"}
        insert_evaluation(tx, EvaluationRecord(**evaluation, models=("a",), ks=(10,), metadata={}))
    with database.write() as tx:
        config.attributes["connection"] = tx
        command.downgrade(config, "0003")
        found = tx.execute(sa.text("SELECT id, phase FROM jobs")).all()
        assert [tuple(row) for row in found] == [(kept.id, "loading")]
        assert tx.execute(sa.text("SELECT id FROM files")).scalars().all() == [mined.id]
        assert tx.execute(sa.text("SELECT DISTINCT job_id FROM job_events")).scalars().all() == [kept.id]
    migrate(url)
    database.close()


def test_a_model_is_told_what_it_was_trained_on_and_one_that_was_brought_goes_with_the_step(
    url: str, make_job: Callable[..., Any], make_file: Callable[..., Any]
) -> None:
    from alembic import command

    database, config, file = Database.open(url), Config(), make_file()
    config.set_main_option("script_location", str(MIGRATIONS))
    made = [make_job(spec={"training_file": file.id}), make_job(spec={})]
    common: dict[str, Any] = {"project": "default", "created_at": 1.0, "fingerprint": "f"}
    common |= {"dimensions": 2, "max_tokens": 8, "summary": {}}
    with database.write() as tx:
        files.insert_file(tx, file)
        for job in made:
            jobs.insert(tx, job)
        for name, by, parent in (("a", made[0].id, "p"), ("b", made[1].id, "p"), ("c", None, None)):
            model = records.ModelRecord(id=name, folder=name, parent=parent, job_id=by, **common)
            catalog.insert_model(tx, model)
        config.attributes["connection"] = tx
        command.downgrade(config, "0004")
    migrate(url)
    with database.read() as tx:
        found = tx.execute(sa.select(tables.models.c.id, tables.models.c.data_sha256).order_by("id")).all()
    assert [tuple(row) for row in found] == [("a", file.sha256), ("b", None)]
    database.close()


def test_a_model_is_given_its_jobs_metadata_and_everything_else_none(
    url: str, make_job: Callable[..., Any], make_file: Callable[..., Any]
) -> None:
    from alembic import command

    database, config, job = Database.open(url), Config(), make_job(metadata={"team": "säarch"})
    config.set_main_option("script_location", str(MIGRATIONS))
    common: dict[str, Any] = {"project": "default", "created_at": 1.0, "fingerprint": "f", "summary": {}}
    common |= {"dimensions": 2, "max_tokens": 8}
    with database.write() as tx:
        jobs.insert(tx, job)
        files.insert_file(tx, make_file(metadata={"lost": "by the step back"}))
        for name, by in (("a", job.id), ("b", None)):
            catalog.insert_model(tx, records.ModelRecord(id=name, folder=name, parent=None, job_id=by, **common))
        config.attributes["connection"] = tx
        command.downgrade(config, "0010")
    migrate(url)
    with database.read() as tx:
        found = tx.execute(sa.select(tables.models.c.id, tables.models.c.metadata).order_by("id")).all()
        assert [tuple(row) for row in found] == [("a", {"team": "säarch"}), ("b", {})]
        assert tx.execute(sa.select(tables.files.c.metadata)).scalars().all() == [{}]
    database.close()


def test_vectors_that_are_there_were_brought_for_the_model_that_answers_now(
    url: str, make_job: Callable[..., Any], make_collection: Callable[..., Any]
) -> None:
    from alembic import command

    database, config = Database.open(url), Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    names = ("none", "texts", "new", "indexed", "moved")
    made = {name: make_collection(name=name, model=None if name == "none" else f"model of {name}") for name in names}
    vector = b"\0\0\x80?"
    with database.write() as tx:
        for name, collection in made.items():
            catalog.insert_collection(tx, collection)
            text, embedded = NewDocument(id="t", text="t"), Embedded(fingerprint=f"early {name}", vectors={"t": vector})
            documents.upsert(tx, collection, documents=[text], embedded=None if name == "none" else embedded)
            own = [NewDocument(id=id, vector=vector) for id in "ab" if name != "texts"]
            documents.upsert(tx, collection, documents=own)
        for name in ("indexed", "moved"):
            job = make_job()
            jobs.insert(tx, job)
            version = collection_records.VersionRecord(
                id=f"ver-{name}",
                collection_id=made[name].id,
                created_at=1.0,
                model=f"model of {name}" if name == "indexed" else "other",
                fingerprint=f"index {name}",
                dimension=2,
                count=3,
                watermark=3,
                folder=name,
                job_id=job.id,
            )
            assert catalog.insert_version_and_activate(tx, version, moves_model=name == "moved")
        config.attributes["connection"] = tx
        command.downgrade(config, "0012")
    migrate(url)
    with database.read() as tx:
        found = {name: brought.of_collection(tx, collection.id) for name, collection in made.items()}
    assert found.pop("texts") == []
    told = {name: (one.since, one.count, one.encoding.model, one.encoding.fingerprint) for name, [one] in found.items()}
    assert told == {
        "none": (2, 2, None, None),
        "new": (2, 2, "model of new", "early new"),
        "indexed": (2, 2, "model of indexed", "index indexed"),
        "moved": (2, 2, "other", "index moved"),
    }
    database.close()


def test_a_step_back_leaves_no_version_that_no_job_made(
    url: str, make_job: Callable[..., Any], make_collection: Callable[..., Any]
) -> None:
    from alembic import command

    database, config, job = Database.open(url), Config(), make_job()
    config.set_main_option("script_location", str(MIGRATIONS))
    collection = make_collection(model="before")
    common: dict[str, Any] = {"fingerprint": "f", "created_at": 1.0, "dimension": 2, "count": 0, "watermark": 0}
    version = collection_records.VersionRecord(
        id="ver-1", collection_id=collection.id, model="after", folder="v", job_id=job.id, **common
    )
    with database.write() as tx:
        jobs.insert(tx, job)
        catalog.insert_collection(tx, collection)
        assert catalog.insert_version_and_activate(tx, version, moves_model=True)
        moved = catalog.get_collection(tx, "default", name=collection.id)
        assert moved.previous_version is not None
        config.attributes["connection"] = tx
        command.downgrade(config, "0012")
        assert tx.execute(sa.text("SELECT id FROM versions")).scalars().all() == ["ver-1"]
    migrate(url)
    with database.read() as tx:
        kept = catalog.get_collection(tx, "default", name=collection.id)
    assert (kept.active_version, kept.previous_version) == ("ver-1", None)
    database.close()


@pytest.mark.parametrize("backend", ["sqlite", "postgres"])
def test_two_migrations_at_once_make_one_schema(backend: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    url = f"sqlite:///{tmp_path / 'fresh.db'}"
    if backend == "postgres":
        request.getfixturevalue("postgres_command")("CREATE DATABASE fresh")
        url = request.getfixturevalue("postgres")("fresh")
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(migrate, [url] * 4))
    Database.open(url).close()


def test_another_schema_is_refused_with_the_remedy(url: str) -> None:
    database = Database.open(url)
    with database.write() as tx:
        tx.execute(sa.text("UPDATE alembic_version SET version_num = 'other'"))
    database.close()
    with pytest.raises(SchemaMismatch, match="run `infonce migrate`"):
        Database.open(url)
    with pytest.raises(SchemaMismatch, match="update this program"):
        migrate(url)


def test_an_empty_database_is_refused_with_the_remedy(
    postgres: Callable[[str], str], postgres_command: Callable[[str], None]
) -> None:
    postgres_command("CREATE DATABASE hollow")
    with pytest.raises(SchemaMismatch, match="schema none"):
        Database.open(postgres("hollow"))
