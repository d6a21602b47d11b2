"""Where the disk is nearly full, what brings more is refused before it is written, and the rest works."""

from collections.abc import Callable

from tests.service.conftest import BASE, Gateway, lines, problem

PETS = [{"id": "a", "text": "the dog barks"}]


def test_below_the_limit_uploads_jobs_and_documents_are_refused_with_both_numbers(
    serve: Callable[..., Gateway],
) -> None:
    rich = serve()
    file = rich.pairs()
    rich.http.post("/v1/collections", json={"name": "pets", "model": BASE})
    before, poor = rich.artifacts(), serve(min_free_bytes=1 << 60)
    documents = "/v1/collections/pets/documents"
    answers = [
        poor.upload(lines([{"query": "a", "positive": "b"}] * 40)),
        poor.order(training_file=file),
        poor.http.post(documents, json={"documents": PETS}),
        poor.http.post(documents, content=lines(PETS), headers={"content-type": "application/x-ndjson"}),
    ]
    for answer in answers:
        detail = problem(answer, 507, "storage_full")["detail"]
        assert f"{1 << 60:,} have to stay free" in detail and "infonce gc" in detail
        assert "INFONCE_MIN_FREE_BYTES" in detail and "bytes free" in detail
    assert poor.artifacts() == before and poor.http.get("/v1/jobs").json()["data"] == []
    assert poor.http.get("/v1/collections/pets").json()["count"] == 0
    ready = poor.http.get("/readyz")
    assert (ready.status_code, ready.json()["degraded"]) == (200, ["storage"])
    assert rich.http.get("/readyz").json()["degraded"] == []


def test_what_a_request_says_it_will_bring_counts(serve: Callable[..., Gateway]) -> None:
    gateway = serve()
    free = gateway.parts.artifacts.free_bytes()
    tight = serve(min_free_bytes=max(free - (64 << 20), 1))  # the test machine may use some of it meanwhile
    headers = {"content-type": "multipart/form-data; boundary=x", "content-length": str(512 << 20)}
    answer = tight.http.post("/v1/files", content=b"--x", headers=headers)
    assert f"after the {512 << 20:,} of this request" in problem(answer, 507, "storage_full")["detail"]
    headers["content-length"] = str(1 << 40)
    problem(tight.http.post("/v1/files", content=b"--x", headers=headers), 413, "too_large")
    assert tight.http.delete("/v1/files/file-" + "0" * 26).status_code == 404


def test_what_is_stored_can_be_read_and_deleted_without_room(serve: Callable[..., Gateway]) -> None:
    file = serve().pairs()
    poor = serve(min_free_bytes=1 << 60)
    assert poor.http.get(f"/v1/files/{file}").status_code == 200
    assert poor.http.delete(f"/v1/files/{file}").status_code == 200
    assert poor.artifacts() == []
