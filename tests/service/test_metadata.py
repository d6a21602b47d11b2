"""Metadata on every resource: given, shown, changed where something can be changed, inherited, and lists by it."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from service.store import catalog
from tests.factories import tiny_model
from tests.service.conftest import BASE, PAIR, Gateway, lines, problem
from tests.service.test_keys import bearer
from tests.service.test_models import published
from tests.service.test_tenancy import judged
from tests.service.test_uploads import announce, complete, send
from tests.service.workshop import work_off

Labels = Mapping[str, str] | None
TEAM = {"team": "search", 'a "quoted" [key]': "ünï 🦊\nsecond line, 100 %"}
ROWS = lines([PAIR, PAIR, PAIR | {"query": "another"}])
HOOK = {"url": "https://93.184.216.34/hook", "event_types": ["job.failed"]}


def a_file(gateway: Gateway, metadata: Labels) -> str:
    form = {"purpose": "fine-tune"} | ({} if metadata is None else {"metadata": json.dumps(metadata)})
    return str(gateway.http.post("/v1/files", files={"file": ("pairs.jsonl", ROWS)}, data=form).json()["id"])


def a_model(gateway: Gateway, metadata: Labels) -> str:
    """As a worker publishes it."""
    name = f"ft:base:faq:{len(gateway.http.get('/v1/models').json()['data']):08}"
    published(gateway.parts, name)
    with gateway.parts.database.write() as tx:
        found = replace(catalog.get_model(tx, "default", id=name), metadata=metadata or {})
        catalog.delete_model(tx, "default", id=name)
        catalog.insert_model(tx, found)
    return name


def posted(path: str, **body: Any) -> Callable[[Gateway, Labels], str]:
    """Makes one by a JSON body; `{n}` in it is another number each time."""
    numbers = iter(range(10))

    def make(gateway: Gateway, metadata: Labels) -> str:
        number = next(numbers)
        said = {
            key: value.replace("{n}", str(number)) if isinstance(value, str) else value for key, value in body.items()
        }
        answer = gateway.http.post(path, json=said if metadata is None else said | {"metadata": metadata})
        assert answer.is_success, answer.text
        made: dict[str, Any] = answer.json()
        assert made["metadata"] == (metadata or {})
        if "secret" in made:
            gateway.http.headers.update(bearer(made["secret"]))  # from now on one is needed
        return str(made["id"])

    return make


def an_evaluation(gateway: Gateway, metadata: Labels) -> str:
    return posted("/v1/evaluations", file=judged(gateway), models=[BASE])(gateway, metadata)


def a_job(gateway: Gateway, metadata: Labels) -> str:
    return posted("/v1/fine_tuning/jobs", model=BASE, training_file=gateway.pairs())(gateway, metadata)


LISTED: dict[str, Callable[[], Callable[[Gateway, Labels], str]]] = {
    "/v1/files": lambda: a_file,
    "/v1/models": lambda: a_model,
    "/v1/api_keys": lambda: posted("/v1/api_keys", name="ci"),
    "/v1/projects": lambda: posted("/v1/projects", id="p{n}"),
    "/v1/webhook_endpoints": lambda: posted("/v1/webhook_endpoints", name="ci", **HOOK),
    "/v1/evaluations": lambda: an_evaluation,
    "/v1/collections": lambda: posted("/v1/collections", name="c{n}", dimension=2),
    "/v1/fine_tuning/jobs": lambda: a_job,
}


@pytest.fixture
def whole(gateway: Gateway) -> Gateway:
    """A gateway whose base model can be loaded."""
    root = gateway.parts.settings.hub.models_root
    assert root is not None
    tiny_model(root / BASE)
    return gateway


@pytest.mark.parametrize("path", LISTED)
def test_what_is_made_with_metadata_shows_it_and_is_found_by_it(gateway: Gateway, path: str) -> None:
    make = LISTED[path]()
    first, other, bare = make(gateway, TEAM), make(gateway, {"team": "ads"}), make(gateway, None)
    assert gateway.http.get(f"{path}/{first}").json()["metadata"] == TEAM

    def found(wanted: Mapping[str, str]) -> list[str]:
        answer = gateway.http.get(path, params={f"metadata[{key}]": value for key, value in wanted.items()})
        return [one["id"] for one in answer.json()["data"]]

    assert found(TEAM) == found({"team": "search"}) == [first] and found({"team": "ads"}) == [other]
    assert found({"team": "ads", "stage": "prod"}) == found({"Team": "ads"}) == []
    every = {one["id"]: one["metadata"] for one in gateway.http.get(path).json()["data"]}
    assert {id: every[id] for id in (first, other, bare)} == {first: TEAM, other: {"team": "ads"}, bare: {}}
    assert all(told == {} for id, told in every.items() if id not in (first, other))


def test_windows_of_a_filtered_list_join(gateway: Gateway) -> None:
    make = LISTED["/v1/webhook_endpoints"]()
    made = [make(gateway, {"team": "ads" if number % 2 else "search"}) for number in range(6)]

    def windows() -> Iterator[str]:
        query: dict[str, Any] = {"metadata[team]": "ads", "limit": 1, "order": "asc"}
        while True:
            page = gateway.http.get("/v1/webhook_endpoints", params=query).json()
            yield from (one["id"] for one in page["data"])
            if not page["has_more"]:
                return
            query["after"] = page["last_id"]
            gateway.http.post(f"/v1/webhook_endpoints/{page['last_id']}", json={"metadata": {}})  # it fits no more

    assert list(windows()) == made[1::2]


@pytest.mark.parametrize("path", ["/v1/webhook_endpoints", "/v1/projects"])
def test_an_update_puts_new_metadata_in_place_of_all_of_the_old(gateway: Gateway, path: str) -> None:
    place = f"{path}/{LISTED[path]()(gateway, TEAM)}"
    for sent, expected in (({}, TEAM), ({"metadata": None}, TEAM), ({"metadata": {"a": "b"}}, {"a": "b"})):
        assert gateway.http.post(place, json=sent).json()["metadata"] == expected
    assert gateway.http.post(place, json={"metadata": {}}).json()["metadata"] == {}
    assert gateway.http.get(place).json()["metadata"] == {}


def test_a_key_that_replaces_another_one_has_its_metadata(gateway: Gateway) -> None:
    old = LISTED["/v1/api_keys"]()(gateway, TEAM)
    assert gateway.http.post(f"/v1/api_keys/{old}/rotate", json={}).json()["metadata"] == TEAM


def test_a_file_that_came_in_parts_has_the_metadata_of_its_upload(gateway: Gateway) -> None:
    upload = announce(gateway, len(ROWS), metadata=TEAM)
    done = complete(gateway, upload, send(gateway, upload, ROWS).json()["id"]).json()
    assert done["metadata"] == done["file"]["metadata"] == TEAM
    bare = announce(gateway, len(ROWS), metadata=None)
    assert gateway.http.post(f"/v1/uploads/{bare}/cancel").json()["metadata"] == {}


def test_a_form_has_metadata_as_json_or_a_field_for_each_key(gateway: Gateway) -> None:
    def sent(**form: str) -> Any:
        data = {"purpose": "fine-tune", **form}
        return gateway.http.post("/v1/files", files={"file": ("pairs.jsonl", ROWS)}, data=data).json()["metadata"]

    pairs = {"team": "search", 'a "quoted" key': "ünï 🦊\r\nsecond line", "empty": "", "k" * 64: "v" * 512}
    assert sent(**{f"metadata[{key}]": value for key, value in pairs.items()}) == pairs
    longest = {f"{number:02}" + "🦊" * 62: "🦊" * 512 for number in range(16)}
    assert sent(metadata=json.dumps(longest)) == sent(metadata=json.dumps(longest, ensure_ascii=False)) == longest
    assert sent() == sent(metadata="{}") == sent(metadata="null") == {}


def test_a_cleaned_file_has_the_metadata_of_its_parent(gateway: Gateway) -> None:
    parent = a_file(gateway, TEAM)
    assert gateway.http.post(f"/v1/files/{parent}/clean").json()["metadata"] == TEAM


def test_exports_have_metadata_and_so_have_their_jobs(whole: Gateway) -> None:
    make = LISTED["/v1/collections"]()
    collection = make(whole, {"of": "the collection"})
    orders = {"/v1/model_exports": {"model": BASE}, f"/v1/collections/{collection}/export": {}}
    for path, body in orders.items():
        told = whole.http.post(path, json=body | {"metadata": TEAM}).json()
        assert told["metadata"] == TEAM == whole.http.get(f"/v1/jobs/{told['job']}").json()["metadata"]
        work_off(whole.parts, "light")
        place = path if path == "/v1/model_exports" else f"{path}s"
        assert whole.http.get(f"{place}/{told['id']}").json()["metadata"] == TEAM
    assert len(whole.http.get("/v1/jobs?metadata[team]=search").json()["data"]) == 2


@pytest.mark.parametrize("sent", [{}, {"content": b""}, {"json": {}}, {"json": {"metadata": None}}, {"data": {}}])
def test_an_export_of_a_collection_needs_no_body(gateway: Gateway, sent: dict[str, Any]) -> None:
    collection = LISTED["/v1/collections"]()(gateway, TEAM)
    told = gateway.http.post(f"/v1/collections/{collection}/export", **sent)
    assert (told.status_code, told.json()["metadata"]) == (202, {})


def test_a_body_of_such_an_export_is_read_like_any_other(gateway: Gateway) -> None:
    place = f"/v1/collections/{LISTED['/v1/collections']()(gateway, None)}/export"
    for sent, status, code in (
        ({"json": {"metadat": {}}}, 422, "unknown_field"),
        ({"content": b"a=b"}, 415, "unsupported_media_type"),
        ({"data": {"metadata": "{}"}}, 415, "unsupported_media_type"),
    ):
        problem(gateway.http.post(place, **sent), status, code)
    key = {"idempotency-key": "k"}
    first, again = (gateway.http.post(place, json={"metadata": TEAM}, headers=key) for _ in range(2))
    assert first.json()["id"] == again.json()["id"]
    problem(gateway.http.post(place, json={"metadata": {"team": "ads"}}, headers=key), 409, "idempotency_mismatch")


def test_a_file_with_other_metadata_is_another_request(gateway: Gateway) -> None:
    def sent(metadata: Mapping[str, str]) -> Any:
        form = {"purpose": "fine-tune", "metadata": json.dumps(metadata)}
        files = {"file": ("pairs.jsonl", ROWS)}
        return gateway.http.post("/v1/files", files=files, data=form, headers={"idempotency-key": "k"})

    assert sent({"a": "1", "b": "2"}).json() == sent({"b": "2", "a": "1"}).json()
    problem(sent({"a": "1"}), 409, "idempotency_mismatch")


def test_a_model_that_is_brought_has_the_metadata_that_came_with_it(whole: Gateway) -> None:
    export = whole.http.post("/v1/model_exports", json={"model": BASE}).json()["id"]
    work_off(whole.parts, "light")
    tar = {"file": ("mine.tar", whole.http.get(f"/v1/model_exports/{export}/content").content)}
    pairs = {f"metadata[{key}]": value for key, value in {"team": "search"}.items()}
    model = whole.http.post("/v1/models", files=tar, data={"name": "mine", **pairs}).json()
    assert model["metadata"] == {"team": "search"} and model["id"].startswith("ft:mine:")
    listed = whole.http.get("/v1/models?metadata[team]=search").json()["data"]
    assert listed == [model], "a base model has none"
    assert whole.http.get(f"/v1/models/{BASE}").json()["metadata"] == {}
