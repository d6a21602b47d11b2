"""One project cannot see that another one's object exists: every route, walked with a foreign key."""

import io
import zipfile
from typing import Any

import pytest

from service.store import catalog, jobs, webhooks
from service.store.records import JobKind, JobRecord, JobStatus, ModelRecord, Phase, new_id
from service.store.signals import EventType
from tests.service.conftest import BASE, DIMENSIONS, Gateway
from tests.service.test_keys import bearer, make

BODIES: dict[str, dict[str, Any]] = {
    "/v1/collections/{c}/documents": {"documents": [{"id": "a", "text": "a dog"}]},
    "/v1/collections/{c}/query": {"query": "a dog"},
    "/v1/collections/{c}/count": {},
    "/v1/collections/{c}/duplicates": {},
    "/v1/collections/{c}/documents/delete": {"ids": ["a"]},
    "/v1/collections/{c}/versions": {"model": BASE},
    "/v1/collections/{c}/promote": {"version": "ver-" + "0" * 26},
    "/v1/collections/{c}/rollback": {},
    "/v1/collections/{c}/compare": {"queries": ["a dog"], "a": "ver-" + "0" * 26, "b": "ver-" + "0" * 26},
    "/v1/api_keys/{id}/rotate": {},
    "/v1/projects/{id}": {},
    "/v1/uploads/{id}/complete": {"part_ids": ["part-0"]},
    "/v1/webhook_endpoints/{id}": {},
    "/v1/webhook_endpoints/{id}/rotate_secret": {},
    "/v1/webhook_endpoints/{id}/test": {"event_type": "job.failed"},
}
KINDS = ("file", "upload", "ftjob", "col", "eval", "export", "whe", "whd")
NOBODYS = {kind: f"{kind}-" + "0" * 26 for kind in KINDS} | {"key": "00000000"}


@pytest.fixture
def owned(gateway: Gateway) -> dict[str, str]:
    """What project `default` owns, by kind, and its own administrator's key."""
    file = gateway.pairs()
    job = str(gateway.order(training_file=file).json()["id"])
    faq = {"name": "faq", "model": BASE}
    collection = str(gateway.http.post("/v1/collections", json=faq).json()["id"])
    done = JobRecord(
        id=new_id("ftjob"),
        project="default",
        kind=JobKind.TRAIN,
        status=JobStatus.SUCCEEDED,
        phase=Phase.WAITING,
        created_at=1.0,
        spec={},
    )
    model = ModelRecord(
        id="ft:base:faq:12345678",
        project="default",
        created_at=1.0,
        folder="m",
        parent=BASE,
        job_id=done.id,
        dimensions=DIMENSIONS,
        max_tokens=64,
        fingerprint="f",
        summary={},
    )
    with gateway.parts.database.write() as tx:
        jobs.insert(tx, done)
        catalog.insert_model(tx, model)
        types, url = [EventType.JOB_FAILED], "https://hooks.invalid/"
        hook = webhooks.create_endpoint(tx, "default", name="n", url=url, event_types=types, now=1.0)
    evaluated = gateway.http.post("/v1/evaluations", json={"file": judged(gateway), "models": [BASE]})
    announced = {"filename": "p", "purpose": "fine-tune", "bytes": 9, "mime_type": ""}
    upload = str(gateway.http.post("/v1/uploads", json=announced).json()["id"])
    root = gateway.parts.settings.hub.models_root
    assert root is not None
    (root / BASE / "model.safetensors").write_bytes(b"weights")
    export = str(gateway.http.post("/v1/model_exports", json={"model": BASE}).json()["id"])
    key = make(gateway)
    owned = {
        "upload": upload,
        "export": export,
        "file": file,
        "ftjob": job,
        "col": collection,
        "eval": str(evaluated.json()["id"]),
        "model": model.id,
        "whe": hook.id,
    }
    return owned | {"key": key.split("_")[1], "admin": key}


def judged(gateway: Gateway) -> str:
    """The id of a file of judgements."""
    texts = {"corpus.jsonl": '{"_id": "d", "text": "a dog"}', "queries.jsonl": '{"_id": "q", "text": "dog"}'}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, text in {**texts, "qrels.tsv": "q\td\t1"}.items():
            archive.writestr(name, text)
    return str(gateway.upload(packed.getvalue(), purpose="eval", name="judged.zip").json()["id"])


def kind_of(path: str) -> str:
    roots = {"/v1/files": "file", "/v1/fine_tuning": "ftjob", "/v1/jobs": "ftjob", "/v1/models": "model"}
    roots |= {"/v1/uploads": "upload", "/v1/model_exports": "export"}
    roots |= {"/v1/collections": "col", "/v1/evaluations": "eval", "/v1/api_keys": "key", "/v1/projects": "project"}
    roots |= {"/v1/webhook_endpoints": "whe"}
    return next(kind for root, kind in roots.items() if path.startswith(root))


def test_every_route_answers_for_a_foreign_id_as_for_a_random_one(gateway: Gateway, owned: dict[str, str]) -> None:
    foreign = bearer(make(gateway, "other")) | {"x-request-id": "same"}
    nobodys = NOBODYS | {"model": "ft:base:faq:00000000", "project": "nobody"}
    walked = 0
    for path, methods in gateway.http.get("/openapi.json").json()["paths"].items():
        if "{" not in path or not path.startswith("/v1/"):
            continue
        kind = kind_of(path)
        ids = {"theirs": owned.get(kind, "default"), "nobodys": nobodys[kind]}
        for method in methods:
            said = set()
            for id in ids.values():
                place = path.replace("{id}", id).replace("{c}", id).replace("{delivery}", NOBODYS["whd"])
                answer = gateway.http.request(method, place, json=BODIES.get(path), headers=foreign)
                assert answer.status_code == 404, (method, place, answer.text)
                said.add(answer.text.replace(id, "ID"))
            assert len(said) == 1, (method, path, said)
            walked += 1
    assert walked >= 20


def test_no_list_shows_what_another_project_owns(gateway: Gateway, owned: dict[str, str]) -> None:
    foreign = bearer(make(gateway, "other"))
    lists = [path for path in gateway.http.get("/openapi.json").json()["paths"] if "{" not in path]
    resources = ("files", "fine_tuning/jobs", "jobs", "evaluations", "models", "collections", "api_keys")
    resources += ("webhook_endpoints", "workers")
    for path in (f"/v1/{name}" for name in resources):
        assert path in lists
        text = gateway.http.get(path, headers=foreign).text
        assert not [kind for kind, id in owned.items() if id in text], path


TUNING = "/v1/fine_tuning/jobs"


def asking(**contrastive: Any) -> dict[str, Any]:
    """What a training's body says of its method."""
    return {"method": {"contrastive": contrastive}}


WHERE = ["training_file", "validation_file", "model", "collection", "embeddings"]
WHERE += ["mined", "corpus", "miner", "judged", "evaluated", "estimated", "dug", "probe", "judge", "deployed", "place"]
WHERE += ["exported"]


@pytest.mark.parametrize("where", WHERE)
def test_a_foreign_reference_in_a_body_is_an_unknown_one(gateway: Gateway, owned: dict[str, str], where: str) -> None:
    foreign = bearer(make(gateway, "other")) | {"x-request-id": "same"}
    pairs = b"".join(b'{"query": "a", "positive": "b%d"}\n' % number for number in range(40))
    upload = {"files": {"file": ("p.jsonl", pairs)}, "data": {"purpose": "fine-tune"}}
    own = gateway.http.post("/v1/files", headers=foreign, **upload).json()["id"]
    said = set()
    nobodys = (NOBODYS["file"], "ft:base:faq:00000000", "nobodys")
    for file, model, name in ((owned["file"], owned["model"], "faq"), nobodys):
        job = {"model": BASE, "training_file": own, "validation_file": None}
        path, body, id = {
            "training_file": ("/v1/fine_tuning/jobs", job | {"training_file": file}, file),
            "validation_file": ("/v1/fine_tuning/jobs", job | {"validation_file": file}, file),
            "model": ("/v1/fine_tuning/jobs", job | {"model": model}, model),
            "collection": ("/v1/collections", {"name": "c", "model": model}, model),
            "mined": ("/v1/mining", {"model": BASE, "training_file": file}, file),
            "corpus": ("/v1/mining", {"model": BASE, "training_file": own, "corpus_file": file}, file),
            "miner": ("/v1/mining", {"model": model, "training_file": own}, model),
            "judged": ("/v1/evaluations", {"file": file, "models": [BASE]}, file),
            "evaluated": ("/v1/evaluations", {"file": own, "models": [BASE, model]}, model),
            "exported": ("/v1/model_exports", {"model": model}, model),
            "estimated": ("/v1/fine_tuning/jobs/estimate", job | {"training_file": file}, file),
            "dug": (TUNING, job | asking(hard_negatives={"mine": {"corpus_file": file}}), file),
            "probe": (TUNING, job | asking(evaluation={"retention": file}), file),
            "judge": (TUNING, job | asking(evaluation={"file": file}), file),
            "deployed": (TUNING, job | asking(deploy={"collection": "new", "corpus_file": file}), file),
            "place": (TUNING, job | asking(deploy={"collection": name}), name),
            "embeddings": ("/v1/embeddings", {"model": model, "input": "a dog"}, model),
        }[where]
        answer = gateway.http.post(path, json=body, headers=foreign)
        assert answer.status_code in (404, 422) and id in answer.text, answer.text
        said.add((answer.status_code, answer.text.replace(id, "ID")))
    assert len(said) == 1
