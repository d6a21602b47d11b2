"""Orders of mining and of evaluations: checked here, so that what cannot end well is a refusal and no failed job."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from infonce.config import TrainConfig
from infonce.errors import ConfigError
from infonce.mining_config import check_foreseen
from infonce.model_tar import check_packable
from service.mining_checks import check_searched
from service.model_lookup import ModelLookup
from service.references import find_file, find_model
from service.schemas.evaluations import EvaluationCreate
from service.schemas.jobs import JobCreate
from service.schemas.mining import MiningCreate
from service.schemas.models import ModelExportCreate
from service.store import catalog
from service.store.database import Database, Tx
from service.store.evaluations import EvaluationRecord
from service.store.exports import ExportRecord
from service.store.records import FilePurpose, JobKind, JobRecord, new_id
from service.store.waiting import waiting_job
from service.submit import submit_training

_OF_THE_VERDICT = 10  # ndcg@10 decides who is better

Insert = Callable[[Tx, JobRecord], None]


def submit_mining(
    database: Database, lookup: ModelLookup, *, project: str, asked: MiningCreate, now: float, insert: Insert
) -> JobRecord:
    """The job is checked and waits; `insert` writes it, and may add to that or refuse.

    Raises:
        ServiceError: no such base model here, and none may be downloaded; or no such file of the right purpose.
        ConfigError: a setting is outside its limits, or the documents to search are too few or too long.
    """
    config = asked.config()
    find_model(lookup, project, name=asked.model)
    spec = {
        "training_file": asked.training_file,
        "corpus_file": asked.corpus_file,
        "model": asked.model,
        "config": config.to_dict(),
    }
    subject, metadata = asked.training_file, asked.metadata
    job = waiting_job(JobKind.MINE, project=project, spec=spec, now=now, subject=subject, metadata=metadata)
    with database.write() as tx:
        purpose = FilePurpose.FINE_TUNE
        pairs = find_file(tx, project, id=asked.training_file, purpose=purpose, param="training_file")
        check_searched(tx, pairs, config=config, corpus_file=asked.corpus_file)
        insert(tx, job)
    return job


def submit_evaluation(
    database: Database,
    lookup: ModelLookup,
    *,
    project: str,
    asked: EvaluationCreate,
    now: float,
    insert: Callable[[Tx, JobRecord, EvaluationRecord], None],
) -> EvaluationRecord:
    """The evaluation exists and its job waits; `insert` writes both, and may add to that or refuse.

    Raises:
        ServiceError: no such base model here, and none may be downloaded; or no such file of the right purpose.
        ConfigError: a model is named twice.
    """
    named = enumerate(asked.models)
    models = [find_model(lookup, project, name=name, param=f"models.{place}") for place, name in named]
    names = [name if found is None else found.name for name, found in zip(asked.models, models, strict=True)]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ConfigError(f"models names {twice[0]} twice; name each model once", param="models")
    ks = sorted({*asked.ks, _OF_THE_VERDICT})
    id, metadata = new_id("eval"), asked.metadata
    spec = {"file": asked.file, "models": names, "ks": ks}
    job = waiting_job(JobKind.EVALUATE, project=project, spec=spec, now=now, subject=id, metadata=metadata)
    record = EvaluationRecord(
        id=id,
        project=project,
        created_at=now,
        job_id=job.id,
        file_id=asked.file,
        models=tuple(names),
        ks=tuple(ks),
        metadata=metadata or {},
    )
    with database.write() as tx:
        find_file(tx, project, id=asked.file, purpose=FilePurpose.EVAL, param="file")
        insert(tx, job, record)
    return record


def submit_export(
    database: Database,
    lookup: ModelLookup,
    *,
    project: str,
    asked: ModelExportCreate,
    now: float,
    insert: Callable[[Tx, JobRecord, ExportRecord], None],
) -> ExportRecord:
    """The export exists and its job waits; `insert` writes both, and may add to that or refuse.

    Raises:
        ServiceError: no such base model here, and none may be downloaded.
        InvalidModel: its weights are not in one safetensors file.
    """
    found = find_model(lookup, project, name=asked.model)
    if found is not None:
        check_packable(found.path)
    id, name, metadata = new_id("export"), asked.model if found is None else found.name, asked.metadata or {}
    job = waiting_job(JobKind.EXPORT, project=project, spec={"model": name}, now=now, subject=id, metadata=metadata)
    record = ExportRecord(id=id, project=project, created_at=now, job_id=job.id, model=name, metadata=metadata)
    with database.write() as tx:
        insert(tx, job, record)
    return record


def submit_collection_export(
    database: Database,
    *,
    project: str,
    name: str,
    metadata: Mapping[str, str],
    now: float,
    insert: Callable[[Tx, JobRecord, ExportRecord], None],
) -> ExportRecord:
    """The export exists and its job waits; `insert` writes both, and may add to that or refuse.

    Raises:
        NotFound: the project has no such collection.
    """
    with database.write() as tx:
        collection, id = catalog.get_collection(tx, project, name=name), new_id("export")
        spec, subject = {"collection": collection.id, "export": id}, collection.id
        job = waiting_job(JobKind.EXPORT, project=project, spec=spec, now=now, subject=subject, metadata=metadata)
        record = ExportRecord(
            id=id, project=project, created_at=now, job_id=job.id, collection_id=subject, metadata=metadata
        )
        insert(tx, job, record)
    return record


def submit_estimate(
    database: Database, lookup: ModelLookup, *, project: str, asked: JobCreate, now: float, insert: Insert
) -> JobRecord:
    """What a training is checked for is checked, and a job waits that says what the training would take.

    Raises:
        ServiceError, ConfigError: as for the training itself, or it looks for negatives.
    """
    id = new_id("job")

    def as_estimate(tx: Tx, training: JobRecord) -> None:
        check_foreseen(TrainConfig.from_dict(training.spec["config"]).mine)
        insert(tx, replace(training, id=id, kind=JobKind.ESTIMATE))

    training = submit_training(database, lookup, project=project, asked=asked, now=now, insert=as_estimate)
    return replace(training, id=id, kind=JobKind.ESTIMATE)
