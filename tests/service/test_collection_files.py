"""A collection is carried away as one file and brought to another place, where it finds what it found."""

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from infonce.collection_file import DOCUMENTS, MANIFEST, VECTORS
from infonce.errors import Stopped
from service.store import arrivals, catalog, documents, versions
from service.store.errors import Conflict
from service.store.records import DEFAULT_PROJECT
from service.store.tables import collections
from service.store.tables import documents as rows
from tests.service.conftest import BASE, DIMENSIONS, Gateway, problem
from tests.service.test_collections import PETS, ask, build, make, put
from tests.service.test_keys import bearer
from tests.service.test_keys import make as make_key
from tests.service.workshop import Bench, work_off
from tests.worker.jobs.conftest import Recorder
from worker.orders import write_order

OWN = [float(number == 3) for number in range(DIMENSIONS)]


def export(gateway: Gateway, name: str = "pets") -> dict[str, Any]:
    answer = gateway.http.post(f"/v1/collections/{name}/export")
    assert answer.status_code == 202, answer.text
    told: dict[str, Any] = answer.json()
    return told


def exported(gateway: Gateway, name: str = "pets") -> bytes:
    """The file of the collection as it is now."""
    place = f"/v1/collections/{name}/exports/{export(gateway, name)['id']}/content"
    work_off_exports(gateway)
    return gateway.http.get(place).content


def work_off_exports(gateway: Gateway) -> None:
    """Index jobs that wait are none of this."""
    with gateway.parts.database.write() as tx:
        tx.exec_driver_sql("UPDATE jobs SET status = 'cancelled' WHERE kind = 'index' AND status = 'queued'")
    work_off(gateway.parts, "light")


def bring(gateway: Gateway, file: bytes, headers: dict[str, str] | None = None, **fields: str) -> Any:
    sent = {"files": {"file": ("pets.tar", file)}, "data": fields, "headers": headers or {}}
    return gateway.http.post("/v1/collections/import", **sent)


def parts_of(file: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(file)) as tar:
        opened = ((member.name, tar.extractfile(member)) for member in tar)
        return {name: content.read() for name, content in opened if content is not None}


def tar_of(parts: dict[str, bytes] | list[tuple[str, bytes]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in parts.items() if isinstance(parts, dict) else parts:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


def changed(
    file: bytes,
    *,
    said: Callable[[dict[str, Any]], object] = lambda manifest: None,
    lines: Callable[[bytes], bytes] = lambda content: content,
    vectors: Callable[[np.ndarray[Any, Any]], object] = lambda found: None,
) -> bytes:
    """Another file, whose checksums are those of its parts unless `said` says something else."""
    parts = parts_of(file)
    manifest = json.loads(parts[MANIFEST])
    array = np.frombuffer(parts[VECTORS], "<f4").reshape(-1, manifest["collection"]["dimension"]).copy()
    vectors(array)
    parts |= {DOCUMENTS: lines(parts[DOCUMENTS]), VECTORS: array.tobytes()}
    for name in (DOCUMENTS, VECTORS):
        digest = hashlib.sha256(parts[name]).hexdigest()
        manifest["parts"][name] = {"bytes": len(parts[name]), "sha256": digest}
    said(manifest)
    return tar_of(parts | {MANIFEST: json.dumps(manifest).encode()})


@pytest.fixture
def pets(gateway: Gateway) -> Gateway:
    """Three documents in the index, one later one beside it, one that brought its vector, one that was written anew."""
    make(gateway, metadata={"team": "search"})
    put(gateway, [{**one, "metadata": {"n": number}} for number, one in enumerate(PETS)])
    version = build(gateway)
    with gateway.parts.database.write() as tx:
        versions.forget_changes(tx, version.collection_id)  # so that the index alone has their vectors
    put(gateway, [{"id": "c", "text": "birds sing loudly"}, {"id": "d", "text": "a later one"}])
    put(gateway, [{"id": "e", "vector": OWN, "metadata": {"own": True}}])
    return gateway


def test_an_export_is_a_job_and_then_a_file_that_explains_itself(pets: Gateway) -> None:
    told = export(pets)
    assert (told["object"], told["collection"], told["status"]) == ("collection.export", "pets", "queued")
    place = f"/v1/collections/pets/exports/{told['id']}"
    problem(pets.http.get(f"{place}/content"), 409, "not_ready")
    make(pets, name="others")
    for other in (place.replace("pets", "others"), f"/v1/model_exports/{told['id']}"):
        problem(pets.http.get(other), 404, "not_found")
    work_off_exports(pets)
    after, answer = pets.http.get(place).json(), pets.http.get(f"{place}/content")
    assert (after["status"], after["bytes"]) == ("succeeded", len(answer.content))
    assert after["sha256"] == hashlib.sha256(answer.content).hexdigest()
    assert 'filename="pets.tar"' in answer.headers["content-disposition"]
    parts = parts_of(answer.content)
    manifest = json.loads(parts[MANIFEST])
    assert (manifest["format"], manifest["version"]) == ("infonce.collection", 1)
    assert manifest["collection"] == {
        "name": "pets",
        "model": BASE,
        "fingerprint": "words",
        "dimension": DIMENSIONS,
        "index": {"type": "auto", "prefix": "auto"},
        "metadata": {"team": "search"},
    }
    assert manifest["counts"] == {"documents": 5, "brought": 1, "vectors": 5}
    assert [json.loads(line)["id"] for line in parts[DOCUMENTS].splitlines()] == ["a", "b", "c", "d", "e"]
    job = pets.http.get(f"/v1/jobs/{told['job']}").json()
    assert job["kind"] == "export" and job["result"]["export"] == told["id"] and job["result"]["vectors"] == 5


def test_a_collection_that_is_brought_finds_at_once_what_it_found(pets: Gateway) -> None:
    before, own = ask(pets, query="birds dog", k=5).json()["hits"], ask(pets, vector=OWN, k=1).json()["hits"]
    pets.loaded.clear()
    answer = bring(pets, exported(pets), name="copy")
    made = answer.json()
    assert answer.status_code == 201, answer.text
    assert (made["name"], made["model"], made["metadata"]) == ("copy", BASE, {"team": "search"})
    assert (made["count"], made["pending"], made["active_version"]) == (5, 0, None)
    after = ask(pets, "copy", query="birds dog", k=5).json()["hits"]
    assert [hit["id"] for hit in after] == [hit["id"] for hit in before]
    assert np.allclose([hit["score"] for hit in after], [hit["score"] for hit in before], atol=1e-6)
    assert ask(pets, "copy", vector=OWN, k=1).json()["hits"] == own
    listed = pets.http.get("/v1/collections/copy/documents").json()["data"]
    assert listed == pets.http.get("/v1/collections/pets/documents").json()["data"]
    first, second = (parts_of(exported(pets, name)) for name in ("pets", "copy"))
    assert (first[DOCUMENTS], first[VECTORS]) == (second[DOCUMENTS], second[VECTORS])


def test_what_is_not_embedded_yet_stays_so_and_a_job_waits_for_it(gateway: Gateway) -> None:
    make(gateway)
    put(gateway, [{"id": f"d{number}", "text": f"text {number}"} for number in range(300)])
    made = bring(gateway, exported(gateway), name="copy").json()
    assert (made["count"], made["pending"]) == (300, 300)
    waiting = [job for job in gateway.http.get("/v1/jobs").json()["data"] if job["status"] == "queued"]
    assert [job["kind"] for job in waiting] == ["index"]


def test_an_empty_collection_and_one_of_vectors_alone_are_carried_too(gateway: Gateway) -> None:
    gateway.http.post("/v1/collections", json={"name": "none", "dimension": 2})
    assert bring(gateway, exported(gateway, "none"), name="copy").json()["count"] == 0
    put(gateway, [{"id": "x", "vector": [1, 0]}, {"id": "y", "vector": [0, 1]}], "none")
    made = bring(gateway, exported(gateway, "none"), name="more").json()
    assert (made["model"], made["dimension"], made["count"], made["pending"]) == (None, 2, 2, 0)
    assert [hit["id"] for hit in ask(gateway, "more", vector=[0, 1], k=1).json()["hits"]] == ["y"]


def test_the_file_is_of_one_moment_although_writes_go_on(pets: Gateway) -> None:
    export(pets)
    with pets.parts.database.write() as tx:
        tx.exec_driver_sql("UPDATE jobs SET status = 'cancelled' WHERE kind = 'index'")
    bench = Bench.claim(pets.parts, "light")  # its order is written
    put(pets, [{"id": "a", "text": "written meanwhile"}, {"id": "new", "text": "one more"}])
    build(pets)  # the index that it reads is no version's any more
    assert bench.commit(bench.published(bench.work()))
    [file] = (pets.parts.artifacts.root / "exports").glob("*/collection.tar")
    kept = [json.loads(line) for line in parts_of(file.read_bytes())[DOCUMENTS].splitlines()]
    assert (kept[0]["id"], kept[0]["text"]) == ("a", "the dog barks") and len(kept) == 5
    assert list((pets.parts.artifacts.root / "runs").glob("*/*/parts")) == []


@pytest.mark.parametrize("wish", [lambda: True, lambda: False], ids=["in the parent", "in the child"])
def test_a_wish_to_stop_is_heard(pets: Gateway, wish: Callable[[], bool]) -> None:
    export(pets)
    with pets.parts.database.write() as tx:
        tx.exec_driver_sql("UPDATE jobs SET status = 'cancelled' WHERE kind = 'index'")
    bench = Bench.claim(pets.parts, "light")
    with pytest.raises(Stopped):
        bench = replace(bench, order=write_order(bench.shop, bench.job, stop=wish))
        bench.work(Recorder(stop_in="exporting"))


def test_another_model_embeds_the_texts_anew(pets: Gateway) -> None:
    file = changed(exported(pets), said=lambda manifest: manifest["collection"].update(model="gone/model"))
    detail = problem(bring(pets, file, name="copy"), 404, "model_not_found")["detail"]
    assert "gone/model is not here" in detail and "POST /v1/models" in detail
    other = changed(exported(pets), said=lambda manifest: manifest["collection"].update(fingerprint="others"))
    assert "is another one here" in problem(bring(pets, other, name="copy"), 404, "model_not_found")["detail"]
    made = bring(pets, other, name="copy", model=BASE).json()
    assert (made["model"], made["count"], made["pending"]) == (BASE, 5, 4)
    problem(bring(pets, other, name="x", model="no/such"), 422, "unknown_base_model")


def test_a_name_is_taken_once_and_a_request_that_comes_twice_makes_one(pets: Gateway) -> None:
    file = exported(pets)
    problem(bring(pets, file), 409, "name_taken")
    first, again = (bring(pets, file, {"idempotency-key": "k"}, name="copy") for _ in range(2))
    assert again.json() == first.json() and again.headers["idempotency-replayed"] == "true"
    problem(bring(pets, file, {"idempotency-key": "k"}, name="other"), 409, "idempotency_mismatch")
    for name in ("Pets", "col-x", ""):
        assert problem(bring(pets, file, name=name), 422, "invalid_value")["error"]["param"] == "name"
    own = bearer(make_key(pets, "other"))
    made = bring(pets, file, own)
    assert (made.status_code, made.json()["name"]) == (201, "pets")
    assert pets.http.get(f"/v1/collections/{first.json()['id']}", headers=own).status_code == 404


def no_number(found: np.ndarray[Any, Any]) -> None:
    found[1, 0] = np.nan


def long_row(found: np.ndarray[Any, Any]) -> None:
    found[1] *= 2


def turned(found: np.ndarray[Any, Any]) -> None:
    found[:] = np.roll(found, 1, axis=0)


INVALID = "collection_invalid"
HOSTILE: dict[str, tuple[Callable[[bytes], bytes], str, str]] = {
    "no tar": (lambda file: b"PK\3\4" + bytes(600), INVALID, "no tar"),
    "nothing": (lambda file: b"", INVALID, "cut off"),
    "cut off in a part": (lambda file: file[:1500], INVALID, "ends within"),
    "cut off between parts": (lambda file: file[:1536], INVALID, ""),
    "a tail": (lambda file: file + b"more", INVALID, "follows"),
    "an absolute path": (lambda file: tar_of({"/etc/passwd": b"x"}), INVALID, "'/etc/passwd' is no part"),
    "a way out": (lambda file: tar_of({"../manifest.json": b"{}"}), INVALID, "is no part"),
    "a part twice": (lambda file: tar_of([*parts_of(file).items(), (MANIFEST, b"{}")]), INVALID, "twice"),
    "a part less": (lambda file: tar_of(list(parts_of(file).items())[:2]), INVALID, "vectors.f32 is miss"),
    "no manifest": (lambda file: tar_of(parts_of(file) | {MANIFEST: b"{"}), INVALID, "no JSON"),
    "a deep manifest": (lambda file: tar_of(parts_of(file) | {MANIFEST: b"[" * 99_999}), INVALID, ""),
    "a long manifest": (
        lambda file: tar_of(parts_of(file) | {MANIFEST: bytes(1 << 20)}),
        INVALID,
        "limit",
    ),
    "another format": (
        lambda file: changed(file, said=lambda m: m.update(format="x")),
        INVALID,
        "format 'x'",
    ),
    "a later version": (
        lambda file: changed(file, said=lambda m: m.update(version=2)),
        INVALID,
        "version 2",
    ),
    "an unknown fact": (lambda file: changed(file, said=lambda m: m["collection"].update(x=1)), "unknown_field", "x"),
    "another dimension": (
        lambda file: changed(file, said=lambda m: m["collection"].update(dimension=9)),
        INVALID,
        "9 dimensions",
    ),
    "other counts": (
        lambda file: changed(file, said=lambda m: m["counts"].update(brought=2)),
        INVALID,
        "brought",
    ),
    "another checksum": (
        lambda file: changed(file, said=lambda m: m["parts"][VECTORS].update(sha256="0" * 64)),
        INVALID,
        "SHA-256",
    ),
    "another size": (
        lambda file: changed(file, said=lambda m: m["parts"][DOCUMENTS].update(bytes=1)),
        INVALID,
        "bytes",
    ),
    "a byte of a part": (
        lambda file: file.replace(b"the dog barks", b"the dog burks"),
        INVALID,
        "SHA-256",
    ),
    "no number": (lambda file: changed(file, vectors=no_number), "dataset_invalid", "row 2"),
    "a long vector": (lambda file: changed(file, vectors=long_row), "dataset_invalid", "length 2"),
    "vectors of other texts": (lambda file: changed(file, vectors=turned), INVALID, "cosine"),
    "a line less": (
        lambda file: changed(file, lines=lambda text: text[: text[:-1].rfind(b"\n") + 1]),
        INVALID,
        "4 documents",
    ),
    "a line more": (
        lambda file: changed(file, lines=lambda text: text + text.splitlines()[-1]),
        INVALID,
        "6 documents",
    ),
    "no document": (lambda file: changed(file, lines=lambda text: b"[]\n" + text), "dataset_invalid", "Line 1"),
    "an id twice": (
        lambda file: changed(file, lines=lambda text: text.replace(b'"id": "b"', b'"id": "a"')),
        "dataset_invalid",
        "stands on line 1 too",
    ),
    "no vector where one was brought": (
        lambda file: changed(file, vectors=lambda found: found[4].fill(0)),
        "dataset_invalid",
        "its row is zeros",
    ),
    "neither text nor vector of its own": (
        lambda file: changed(file, lines=lambda text: text.replace(b'"text": "a cat sleeps"', b'"text": null')),
        "dataset_invalid",
        "text is missing",
    ),
}


def nothing_left(gateway: Gateway) -> None:
    with gateway.parts.database.read() as tx:
        found = tx.execute(collections.select()).all()
        assert [(row.project, row.name) for row in found] == [(DEFAULT_PROJECT, "pets")]
        assert {row.collection_id for row in tx.execute(rows.select())} == {found[0].id}
    assert list((gateway.parts.artifacts.root / "tmp").iterdir()) == []


def test_what_is_no_exported_collection_is_refused_and_leaves_nothing(pets: Gateway) -> None:
    file = exported(pets)
    for what, (spoil, code, words) in HOSTILE.items():
        answer = bring(pets, spoil(file), name="copy")
        assert answer.status_code == 422, (what, answer.text)
        assert words in problem(answer, 422, code)["detail"], (what, answer.text)
        nothing_left(pets)
    assert bring(pets, file, name="copy").status_code == 201


def test_quota_and_size_are_kept_and_leave_nothing(serve: Callable[..., Gateway], pets: Gateway) -> None:
    file = exported(pets)
    stored = pets.http.get("/v1/projects/default").json()["stored_bytes"]
    pets.http.post("/v1/projects/default", json={"max_stored_bytes": stored + len(file) + 1})
    put(pets, [{"id": "big", "text": "x" * 4_000}])
    problem(bring(pets, file, name="copy"), 403, "storage_quota")
    nothing_left(pets)
    small = serve(max_upload_bytes=2_000)
    assert "NDJSON" in problem(bring(small, file, name="copy"), 413, "too_large")["detail"]


def test_what_a_dead_process_left_is_seen_by_nobody_and_goes(pets: Gateway) -> None:
    parts, now = pets.parts, pets.parts.clock()
    with parts.database.read() as tx:
        whole = catalog.get_collection(tx, DEFAULT_PROJECT, name="pets")
    dead = replace(whole, id="col-" + "0" * 26, name="copy", active_version=None, watermark=0, num_bytes=0)
    taken = [documents.NewDocument(id=f"d{number}", text="x") for number in range(10)]
    with parts.database.write() as tx:
        arriving = arrivals.begin(tx, dead, now=now - arrivals.SILENT_SECONDS - 1)
        documents.upsert(tx, arriving, documents=taken)
    assert [one["name"] for one in pets.http.get("/v1/collections").json()["data"]] == ["pets"]
    problem(pets.http.get(f"/v1/collections/{dead.id}"), 404, "not_found")
    parts.sweep.once()
    nothing_left(pets)


def test_one_that_shows_life_stays_and_one_given_up_is_never_finished(pets: Gateway) -> None:
    parts, now = pets.parts, pets.parts.clock()
    with parts.database.read() as tx:
        whole = catalog.get_collection(tx, DEFAULT_PROJECT, name="pets")
    own = replace(whole, id="col-" + "0" * 26, name="copy", active_version=None, watermark=0, num_bytes=0)
    with parts.database.write() as tx:
        arriving = arrivals.begin(tx, own, now=now - 10)
    parts.sweep.once()
    with parts.database.write() as tx:
        arrivals.take_in(tx, arriving, taken=[documents.NewDocument(id="d", text="x")], embedded=None, now=now)
        assert arrivals.give_up(tx, own.id, before=now + 1) is not None
    for act in (
        lambda tx: arrivals.finish(tx, own),
        lambda tx: arrivals.take_in(tx, arriving, taken=[], embedded=None, now=now),
    ):
        with pytest.raises(Conflict, match="given up"), parts.database.write() as tx:
            act(tx)


def test_an_export_goes_with_its_collection_and_one_without_its_index_has_the_texts(pets: Gateway) -> None:
    [index] = (pets.parts.artifacts.root / "collections").glob("col-*/ver-*/index.faiss")
    index.write_bytes(b"damaged")
    parts = parts_of(exported(pets))
    assert json.loads(parts[MANIFEST])["counts"] == {"documents": 5, "brought": 1, "vectors": 3}
    stored = [name for name in pets.artifacts() if name.startswith("exports/")]
    assert stored and pets.http.delete("/v1/collections/pets").is_success
    pets.parts.sweep.once()
    assert not [name for name in pets.artifacts() if name.startswith("exports/")]
