"""A home as `infonce serve` leaves it, made by the store's own functions: files, models, collections with indexes."""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import numpy as np

from infonce.index import VectorIndex
from infonce.index_config import IndexConfig, IndexType
from service.store import catalog, documents, evaluations, exports, files, jobs, uploads
from service.store.artifacts import EXPORTED, Artifacts, queries_file
from service.store.collection_records import CollectionRecord, VersionRecord
from service.store.database import Database, migrate, sqlite_url
from service.store.documents import NewDocument
from service.store.evaluations import EvaluationRecord
from service.store.exports import ExportRecord
from service.store.records import (
    DEFAULT_PROJECT,
    FilePurpose,
    FileRecord,
    JobKind,
    JobRecord,
    JobStatus,
    ModelRecord,
    Phase,
    new_id,
)
from service.store.settings import HOME_DATABASE
from service.store.uploads import PartRecord, UploadRecord

PAIR = b'{"anchor": "red cat", "positive": "cat red"}\n'


@cache
def _empty_database() -> bytes:
    """A migrated one: Alembic takes half a second."""
    with tempfile.TemporaryDirectory() as folder:
        migrate(sqlite_url(Path(folder) / "store.db"))
        return (Path(folder) / "store.db").read_bytes()


@dataclass(frozen=True, kw_only=True)
class Home:
    """Database and artifacts of one folder."""

    path: Path
    url: str
    database: Database
    artifacts: Artifacts

    @classmethod
    def new(cls, path: Path) -> Self:
        """An empty one."""
        path.mkdir(parents=True)
        (path / HOME_DATABASE).write_bytes(_empty_database())
        artifacts = Artifacts(path / "artifacts")
        artifacts.prepare()
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> Self:
        """One that is there."""
        url = sqlite_url(path / HOME_DATABASE)
        return cls(path=path, url=url, database=Database.open(url), artifacts=Artifacts(path / "artifacts"))

    def upload(self, content: bytes = PAIR) -> FileRecord:
        """A file of that content."""
        record = FileRecord(
            id=new_id("file"), project=DEFAULT_PROJECT, created_at=1.0, filename="pairs.jsonl",
            purpose=FilePurpose.FINE_TUNE, num_bytes=len(content), sha256=sha256(content).hexdigest(),
            counts={"pairs": content.count(b"\n")},
        )  # fmt: skip
        part = self.artifacts.new_part()
        part.write_bytes(content)
        self.artifacts.publish(part, self.artifacts.file_path(record.id))
        with self.database.write() as tx:
            files.insert_file(tx, record)
        return record

    def ended_job(
        self, kind: JobKind = JobKind.TRAIN, *, result: Mapping[str, Any] = MappingProxyType({})
    ) -> JobRecord:
        """A job that has succeeded."""
        job = JobRecord(
            id=new_id("ftjob"), project=DEFAULT_PROJECT, kind=kind, status=JobStatus.SUCCEEDED, phase=Phase.EXPORTING,
            created_at=1.0, finished_at=2.0, attempt=1, spec={}, result=dict(result),
        )  # fmt: skip
        with self.database.write() as tx:
            jobs.insert(tx, job)
        return job

    def model(self, write: Callable[[Path], object]) -> ModelRecord:
        """A published model whose folder holds what `write` writes."""
        job = self.ended_job()
        staging = self.artifacts.run_path(job.id, 1) / "staging"
        staging.mkdir(parents=True)
        write(staging)
        self.artifacts.seal(staging)
        folder = f"{job.id}-a1"
        self.artifacts.publish(staging, self.artifacts.model_path(folder))
        record = ModelRecord(
            id=f"ft:tiny:faq:{job.id[-8:]}", project=DEFAULT_PROJECT, created_at=2.0, folder=folder, parent="tiny",
            job_id=job.id, dimensions=32, max_tokens=32, fingerprint="f", summary={},
        )  # fmt: skip
        with self.database.write() as tx:
            catalog.insert_model(tx, record)
        return record

    def evaluation(self, file: FileRecord) -> EvaluationRecord:
        """One with a result."""
        job = self.ended_job(JobKind.EVALUATE)
        staging, folder = self.artifacts.run_path(job.id, 1) / "staging", f"{job.id}-a1"
        staging.mkdir(parents=True)
        (staging / queries_file(1, "win")).write_bytes(b"{}\n")
        num_bytes = self.artifacts.seal(staging)
        self.artifacts.publish(staging, self.artifacts.evaluation_path(folder))
        record = EvaluationRecord(
            id=new_id("eval"), project=DEFAULT_PROJECT, created_at=2.0, job_id=job.id, file_id=file.id,
            models=("a", "b"), ks=(10,), metadata={}, folder=folder, num_bytes=num_bytes, summary={},
        )  # fmt: skip
        with self.database.write() as tx:
            evaluations.insert_evaluation(tx, record)
        return record

    def part(self, content: bytes = PAIR) -> tuple[UploadRecord, Path]:
        """An upload of which one part has come, and where that lies."""
        upload = UploadRecord(
            id=new_id("upload"), project=DEFAULT_PROJECT, created_at=1.0, expires_at=time.time() + 24 * 3600,
            filename="pairs.jsonl", purpose=FilePurpose.FINE_TUNE, num_bytes=len(content),
        )  # fmt: skip
        part = PartRecord(
            id=new_id("part"), upload_id=upload.id, created_at=1.0, num_bytes=len(content),
            sha256=sha256(content).hexdigest(),
        )  # fmt: skip
        path, staged = self.artifacts.part_path(upload.id, part.id), self.artifacts.new_part()
        staged.write_bytes(content)
        self.artifacts.publish(staged, path)
        with self.database.write() as tx:
            uploads.insert_upload(tx, upload)
            uploads.insert_part(tx, part)
        return upload, path

    def export(self) -> Path:
        """Where the tar of an export lies that was made just now."""
        job = self.ended_job(JobKind.EXPORT)
        staging, folder = self.artifacts.run_path(job.id, 1) / "staging", f"{job.id}-a1"
        staging.mkdir(parents=True)
        (staging / EXPORTED).write_bytes(b"tar")
        self.artifacts.seal(staging)
        self.artifacts.publish(staging, self.artifacts.export_path(folder))
        record = ExportRecord(
            id=new_id("export"), project=DEFAULT_PROJECT, created_at=1.0, job_id=job.id, model="a", folder=folder,
            num_bytes=3, sha256=sha256(b"tar").hexdigest(), expires_at=time.time() + 24 * 3600,
        )  # fmt: skip
        with self.database.write() as tx:
            exports.insert_export(tx, record)
        return self.artifacts.export_path(folder)

    def collection(self, name: str = "faq", *, dimension: int = 4) -> CollectionRecord:
        """An empty collection of the client's vectors."""
        record = CollectionRecord(
            id=new_id("col"), project=DEFAULT_PROJECT, name=name, created_at=1.0, model=None, dimension=dimension,
            metadata={}, watermark=0,
        )  # fmt: skip
        with self.database.write() as tx:
            catalog.insert_collection(tx, record)
        return record

    def index(
        self,
        collection: CollectionRecord,
        ids: Sequence[str],
        *,
        config: IndexConfig = IndexConfig(type=IndexType.FLAT),  # noqa: B008 (frozen)
        save: Callable[[VectorIndex, Path], object] = VectorIndex.save,
    ) -> VersionRecord:
        """The collection's active version, over as many random vectors as there are ids."""
        draw = np.random.default_rng(len(ids)).standard_normal((len(ids), collection.dimension)).astype("<f4")
        vectors = draw / np.linalg.norm(draw, axis=1, keepdims=True)
        with self.database.write() as tx:
            news = [NewDocument(id=id, vector=row.tobytes()) for id, row in zip(ids, vectors, strict=True)]
            watermark = documents.upsert(tx, collection, documents=news)
        id = new_id("ver")
        job = self.ended_job(JobKind.INDEX, result={"version": id})
        staging = self.artifacts.run_path(job.id, 1) / "staging"
        save(VectorIndex.build(vectors, ids, config=config), staging)
        self.artifacts.seal(staging)
        self.artifacts.publish(staging, self.artifacts.collection_version_path(collection.id, id))
        record = VersionRecord(
            id=id, collection_id=collection.id, created_at=2.0, model=None, fingerprint=None,
            dimension=collection.dimension, count=len(ids), watermark=watermark, folder=id, job_id=job.id,
        )  # fmt: skip
        with self.database.write() as tx:
            catalog.insert_version_and_activate(tx, record)
        return record

    def close(self) -> None:
        """The database has no open connection."""
        self.database.close()
