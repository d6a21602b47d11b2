"""Files that come in parts: the parts in any order, the whole as if it had come at once, and nothing left of either."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from service.settings import Quotas
from service.store.uploads import EXPIRE_SECONDS
from tests.service.conftest import PAIR, Gateway, lines, problem

ROWS = lines([PAIR | {"query": f"which pet barks {n}"} for n in range(40)])
HALVES = (ROWS[:777], ROWS[777:])


def announce(gateway: Gateway, num_bytes: int = len(ROWS), **more: Any) -> str:
    body = {"filename": "pairs.jsonl", "purpose": "fine-tune", "bytes": num_bytes, "mime_type": "text/jsonl"}
    answer = gateway.http.post("/v1/uploads", json=body | more)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def send(gateway: Gateway, upload: str, data: bytes, **headers: str) -> httpx2.Response:
    return gateway.http.post(f"/v1/uploads/{upload}/parts", files={"data": ("upload", data)}, headers=headers)


def complete(gateway: Gateway, upload: str, *parts: str, **more: Any) -> httpx2.Response:
    return gateway.http.post(f"/v1/uploads/{upload}/complete", json={"part_ids": parts, **more})


def begun(gateway: Gateway) -> tuple[str, list[str]]:
    """An upload whose second half came first, and its parts in their order."""
    upload = announce(gateway)
    second, first = (send(gateway, upload, half).json()["id"] for half in reversed(HALVES))
    return upload, [first, second]


def test_parts_in_any_order_become_the_file_that_one_body_would_be(gateway: Gateway) -> None:
    upload, parts = begun(gateway)
    md5 = hashlib.md5(ROWS).hexdigest()
    done = complete(gateway, upload, *parts, md5=md5).json()
    assert (done["object"], done["status"], done["bytes"]) == ("upload", "completed", len(ROWS))
    at_once = gateway.upload(ROWS).json()
    assert {**done["file"], "id": 0, "created_at": 0} == {**at_once, "id": 0, "created_at": 0}
    assert gateway.http.get(f"/v1/files/{done['file']['id']}/content").content == ROWS
    assert gateway.artifacts() == sorted(f"files/{id}" for id in (done["file"]["id"], at_once["id"]))


def test_a_complete_that_comes_again_is_the_same_and_another_one_is_refused(gateway: Gateway) -> None:
    upload, parts = begun(gateway)
    first, again = (complete(gateway, upload, *parts) for _ in range(2))
    assert first.json() == again.json() and len(gateway.http.get("/v1/files").json()["data"]) == 1
    problem(complete(gateway, upload, *reversed(parts)), 409, "upload_ended")
    problem(send(gateway, upload, b"more"), 409, "upload_ended")
    problem(gateway.http.post(f"/v1/uploads/{upload}/cancel"), 409, "upload_ended")
    gateway.http.delete(f"/v1/files/{first.json()['file']['id']}")
    assert complete(gateway, upload, *parts).json()["file"] is None


def test_two_completes_at_once_make_one_file(gateway: Gateway) -> None:
    upload, parts = begun(gateway)
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: complete(gateway, upload, *parts), range(4)))
    assert [answer.status_code for answer in answers] == [200] * 4
    [file] = {answer.json()["file"]["id"] for answer in answers}
    assert gateway.artifacts() == [f"files/{file}"]


@pytest.mark.parametrize(
    ("choose", "more", "status", "code"),
    [
        (lambda parts: parts[:1], {}, 422, "invalid_value"),
        (lambda parts: [*parts, parts[0]], {}, 422, "invalid_value"),
        (lambda parts: ["part-" + "0" * 26], {}, 422, "invalid_value"),
        (lambda parts: [], {}, 422, "invalid_value"),
        (lambda parts: parts, {"md5": "0" * 32}, 400, "digest_mismatch"),
        (lambda parts: parts, {"md5": "no"}, 422, "invalid_value"),
        (lambda parts: parts[::-1], {}, 422, "dataset_invalid"),
    ],
)
def test_what_is_not_the_file_is_refused_and_the_upload_stays_open(
    gateway: Gateway, choose: Callable[[list[str]], list[str]], more: dict[str, str], status: int, code: str
) -> None:
    upload, parts = begun(gateway)
    problem(complete(gateway, upload, *choose(parts), **more), status, code)
    assert gateway.http.get("/v1/files").json()["data"] == [] and len(gateway.artifacts()) == 2
    assert complete(gateway, upload, *parts).json()["status"] == "completed"


def test_every_line_is_checked_as_in_a_file_that_comes_at_once(gateway: Gateway) -> None:
    broken = ROWS + b"no json\n"
    upload = announce(gateway, len(broken))
    part = send(gateway, upload, broken).json()["id"]
    told, at_once = complete(gateway, upload, part), gateway.upload(broken)
    assert told.json()["errors"] == at_once.json()["errors"] and told.json()["errors"][0]["line"] == 41


def test_a_mapping_goes_with_the_announcement(gateway: Gateway) -> None:
    table = b"q,a\nwhich,that\n"
    upload = announce(gateway, len(table), mapping={"anchor": "q", "positive": "a"})
    done = complete(gateway, upload, send(gateway, upload, table).json()["id"]).json()
    assert (done["file"]["counts"]["pairs"], done["file"]["mapping"]["anchor"]) == (1, "q")
    body = {"filename": "a", "purpose": "eval", "bytes": 1, "mime_type": "", "mapping": {"anchor": "q"}}
    problem(gateway.http.post("/v1/uploads", json=body), 422, "invalid_value")


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"bytes": 0}, 422, "invalid_value"),
        ({"bytes": 2**40}, 413, "too_large"),
        ({"purpose": "fun"}, 422, "invalid_value"),
        ({"filename": ""}, 422, "invalid_value"),
        ({"expires_after": {"anchor": "created_at", "seconds": 3600}}, 422, "unsupported_value"),
        ({"name": "x"}, 422, "unknown_field"),
    ],
)
def test_what_cannot_be_announced_is_refused(gateway: Gateway, change: dict[str, Any], status: int, code: str) -> None:
    body = {"filename": "p", "purpose": "fine-tune", "bytes": 9, "mime_type": "text/plain"}
    problem(gateway.http.post("/v1/uploads", json=body | change), status, code)


def test_no_more_comes_than_the_file_can_need(gateway: Gateway) -> None:
    upload = announce(gateway, 10)
    problem(send(gateway, upload, b"x" * 11), 413, "too_large")
    problem(send(gateway, upload, b""), 422, "invalid_value")
    assert [send(gateway, upload, b"%d234567890" % n).status_code for n in range(3)] == [200, 200, 413]
    assert len(gateway.artifacts()) == 2 and all(name.startswith(f"uploads/{upload}/") for name in gateway.artifacts())


def test_a_part_that_a_client_repeats_is_stored_once(gateway: Gateway) -> None:
    upload = announce(gateway)
    first = send(gateway, upload, HALVES[0], **{"x-stainless-retry-count": "0"}).json()
    again = send(gateway, upload, HALVES[0], **{"x-stainless-retry-count": "1"})
    assert again.json() == first and len(gateway.artifacts()) == 1
    keyed = [send(gateway, upload, HALVES[1], **{"idempotency-key": "k"}).json() for _ in range(2)]
    assert keyed[0] == keyed[1] and len(gateway.artifacts()) == 2


def test_a_cancelled_upload_leaves_nothing_and_may_be_cancelled_again(gateway: Gateway) -> None:
    upload, parts = begun(gateway)
    assert [gateway.http.post(f"/v1/uploads/{upload}/cancel").json()["status"] for _ in range(2)] == ["cancelled"] * 2
    assert gateway.artifacts() == [] and gateway.http.get("/v1/projects/default").json()["stored_bytes"] == 0
    problem(complete(gateway, upload, *parts), 409, "upload_ended")


def test_parts_count_as_stored_until_they_are_a_file(serve: Callable[..., Gateway]) -> None:
    gateway = serve(quotas=Quotas(max_stored_bytes=len(ROWS) + 100))
    stored: list[int] = []

    def look() -> None:
        stored.append(gateway.http.get("/v1/projects/default").json()["stored_bytes"])

    upload, parts = begun(gateway)
    look()
    other = {"filename": "p", "purpose": "fine-tune", "bytes": 101, "mime_type": ""}
    problem(gateway.http.post("/v1/uploads", json=other), 403, "storage_quota")
    small = announce(gateway, 90)
    assert send(gateway, small, b"x" * 90).status_code == 200
    problem(send(gateway, small, b"y" * 11), 403, "storage_quota")
    assert complete(gateway, upload, *parts).status_code == 200
    look()
    assert stored == [len(ROWS), len(ROWS) + 90]


def test_what_nobody_completes_in_a_day_expires(gateway: Gateway) -> None:
    upload, parts = begun(gateway)
    with gateway.parts.database.write() as tx:
        tx.exec_driver_sql(f"UPDATE uploads SET expires_at = expires_at - {EXPIRE_SECONDS}")
    problem(send(gateway, upload, b"more"), 409, "upload_ended")
    problem(complete(gateway, upload, *parts), 409, "upload_ended")
    assert len(gateway.artifacts()) == 2
    gateway.parts.sweep.once()
    assert gateway.artifacts() == [] and gateway.http.get("/v1/projects/default").json()["stored_bytes"] == 0
    assert "expired" in problem(complete(gateway, upload, *parts), 409, "upload_ended")["detail"]


def test_a_damaged_part_is_no_part_of_a_file(gateway: Gateway) -> None:
    upload, parts = begun(gateway)
    gateway.parts.artifacts.part_path(upload, parts[0]).write_bytes(b"x" * 777)
    problem(complete(gateway, upload, *parts), 503, "artifact_corrupt")
    again = send(gateway, upload, HALVES[0]).json()["id"]
    assert complete(gateway, upload, again, parts[1]).json()["status"] == "completed"
