"""The request table: every route is in it, both clients speak it, and answers that are none are told as such."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import numpy as np
import pytest

from infonce.config import Side
from service.client import AsyncClient, Client
from service.client_routes import Routes
from service.client_rows import Call, Listed, Streamed
from service.errors import ApiError
from service.schemas.collections import CollectionCreate
from service.schemas.jobs import JobCreate
from service.schemas.keys import ApiKeyCreate, ApiKeyRotate, ProjectCreate, ProjectUpdate
from tests.service.conftest import BASE, DIMENSIONS, PAIR, Gateway, Live, WordEncoder, lines

T = TypeVar("T")
Use = Callable[[AsyncClient], Awaitable[T]]


def used(live: Live, use: Use[T]) -> T:
    """What `use` makes of an async client of the gateway."""

    async def run() -> T:
        async with AsyncClient(live.url, api_key=live.key) as client:
            return await use(client)

    return asyncio.run(run())


def pairs_file(folder: Path, count: int = 20) -> Path:
    path = folder / "pairs.jsonl"
    path.write_bytes(lines([PAIR | {"query": f"which pet barks {n}"} for n in range(count)]))
    return path


def test_the_table_has_every_route_of_the_document_and_no_other(gateway: Gateway) -> None:
    document = gateway.http.get("/openapi.json").json()
    offered = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    rows = [row for row in vars(Routes).values() if isinstance(row, Call | Listed | Streamed)]
    asked = {(row.method, row.path) for row in rows}
    assert asked == offered, f"no row: {sorted(offered - asked)}; no route: {sorted(asked - offered)}"


def test_an_awaited_client_uploads_and_orders_like_the_other_one(live: Live, tmp_path: Path) -> None:
    path = pairs_file(tmp_path)

    async def use(client: AsyncClient) -> tuple[str, str, list[str]]:
        file = await client.upload(path, "fine-tune")
        job = await client.create_job(JobCreate(model=BASE, training_file=file.id))
        estimate = await client.estimate(JobCreate(model=BASE, training_file=file.id))
        assert (await client.cancel(job.id)).status == "cancelled"
        assert (await client.wait(job.id)).status == "cancelled"
        return file.id, estimate.kind, [found.id async for found in client.files()]

    file, kind, listed = used(live, use)
    with Client(live.url, api_key=live.key) as client:
        assert [found.id for found in client.files(purpose="fine-tune")] == listed == [file] and kind == "estimate"


def test_an_awaited_client_sends_lines_and_reads_vectors(live: Live) -> None:
    async def use(client: AsyncClient) -> Any:
        await client.create_collection(CollectionCreate(name="pets", model=BASE))
        added = await client.add_documents("pets", ({"id": f"d{n}", "text": f"text {n}"} for n in range(600)))
        assert (added.accepted, BASE in [model.id for model in await client.models()]) == (600, True)
        with pytest.raises(TimeoutError, match="still queued"):
            await client.wait(added.job, poll_seconds=0.01, timeout_seconds=0.02)
        return await client.embed(["the dog"], model=BASE, side=Side.QUERY)

    vectors = used(live, use)
    assert vectors.shape == (1, DIMENSIONS)
    assert np.allclose(vectors, WordEncoder().encode(["the dog"], side=Side.QUERY))


def test_an_upload_tells_how_far_it_is_and_never_holds_the_file(live: Live, tmp_path: Path) -> None:
    path, read = pairs_file(tmp_path, count=4_000), list[int]()
    with Client(live.url, api_key=live.key) as client:
        assert client.upload(path, "fine-tune", on_bytes=read.append).bytes == path.stat().st_size
    assert sum(read) == path.stat().st_size and max(read) <= 64 << 10


def test_a_list_is_asked_for_window_by_window() -> None:
    asked: list[dict[str, str]] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(dict(request.url.params))
        rows = [{"id": f"m{len(asked)}", "created": 0, "owned_by": "me", "kind": "base"}]
        return httpx2.Response(200, json={"data": rows, "has_more": len(asked) < 3, "last_id": rows[0]["id"]})

    async def later() -> AsyncIterator[str]:
        async with AsyncClient("http://nowhere", transport=httpx2.MockTransport(answer)) as client:
            async for model in client.every_model():
                yield model.id

    async def collected() -> list[str]:
        return [id async for id in later()]

    with Client("http://nowhere", transport=httpx2.MockTransport(answer)) as client:
        assert [model.id for model in client.every_model()] == ["m1", "m2", "m3"]
    assert [one.get("after") for one in asked] == [None, "m1", "m2"]
    asked.clear()
    assert asyncio.run(collected()) == ["m1", "m2", "m3"]


def test_an_answer_of_another_version_is_told_as_such() -> None:
    odd = httpx2.MockTransport(lambda _: httpx2.Response(200, json={"id": 7}))
    with (
        Client("http://nowhere", transport=odd) as client,
        pytest.raises(ApiError, match="GET /v1/jobs/job-x") as caught,
    ):
        client.any_job("job-x")
    assert caught.value.code == "unknown_answer" and caught.value.body == {"id": 7}


def test_no_id_leaves_its_place_in_the_path() -> None:
    asked: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.url.raw_path.decode())
        return httpx2.Response(404, json={"error": {"code": "not_found", "message": "no"}})

    with Client("http://nowhere", transport=httpx2.MockTransport(answer)) as client:
        for id in ("org/name:1", "a?b=c#d e"):
            with pytest.raises(ApiError):
                client.model(id)
    assert asked == ["/v1/models/org/name:1", "/v1/models/a%3Fb%3Dc%23d%20e"]


def test_keys_and_projects_are_kept_through_the_client(live: Live) -> None:
    with Client(live.url, api_key=live.key) as client:
        client.create_project(ProjectCreate(id="other"))
        assert client.limit_project("other", ProjectUpdate(max_queued_jobs=3)).max_queued_jobs == 3
        assert {project.id for project in client.projects()} == {"default", "other"}
        made = client.create_key(ApiKeyCreate(name="theirs", project="other"))
        new = client.rotate_key(made.id, ApiKeyRotate(grace_seconds=0))
        assert new.secret is not None and client.key(new.id).secret is None
        assert client.delete_key(new.id).deleted and {key.id for key in client.api_keys()} >= {made.id, new.id}


def test_metadata_is_given_and_asked_for_through_the_client(live: Live, tmp_path: Path) -> None:
    team = {"team": "search"}
    with Client(live.url, api_key=live.key) as client:
        file = client.upload(pairs_file(tmp_path), "fine-tune", metadata=team)
        client.upload(pairs_file(tmp_path), "fine-tune")
        assert list(client.files("fine-tune", metadata=team)) == [file] and len(list(client.files())) == 2
        project = client.create_project(ProjectCreate(id="other", metadata=team))
        assert list(client.projects(metadata=team)) == [project]
        assert list(client.api_keys(metadata=team)) == []
        collection = client.create_collection(CollectionCreate(name="pets", dimension=2, metadata=team))
        assert list(client.collections(metadata=team)) == [collection]
        assert client.export_collection("pets", metadata=team).metadata == team
        assert client.export_collection("pets").metadata == {}
        assert client.models(metadata=team) == [] and list(client.evaluations(metadata=team)) == []
        tar = tmp_path / "model.tar"
        tar.write_bytes(b"none")
        with pytest.raises(ApiError, match="metadata"):
            client.bring_model(tar, name="mine", metadata={"k" * 65: "v"})


def test_an_audit_and_a_cleaned_file_come_through_the_client(live: Live, tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(lines([PAIR, PAIR, PAIR | {"query": "another"}]))
    with Client(live.url, api_key=live.key) as client:
        file = client.upload(path, "fine-tune")
        assert "duplicate_pair" in [finding.code for finding in client.file_issues(file.id).findings]
        assert client.file_stats(file.id).duplicates == 1
        clean = client.clean_file(file.id)
        assert (clean.parent, clean.counts["pairs"]) == (file.id, 2)
        assert client.healthz().status == "ok" and client.readyz().degraded == []


def test_what_is_left_out_is_not_sent() -> None:
    sent: list[Any] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(json.loads(request.content))
        return httpx2.Response(422, json={"error": {"code": "invalid_value", "message": "no"}})

    with Client("http://nowhere", transport=httpx2.MockTransport(answer)) as client, pytest.raises(ApiError):
        client.create_job(JobCreate(model=BASE, training_file="file-x", seed=3))
    assert sent == [{"model": BASE, "training_file": "file-x", "seed": 3}]
