"""H38 to H40 over HTTP: what is no model, or more than one, is refused at the door and leaves nothing."""

import io
import json
import os
import pickle
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from service.settings import Quotas
from service.store import projects
from tests.factories import tiny_model
from tests.service.conftest import Gateway, problem

CONFIG = {"model_type": "bert", "hidden_size": 8, "vocab_size": 4, "num_hidden_layers": 1, "num_attention_heads": 2}


class Marker:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._path),)


def tar_of(files: dict[str, bytes], *, links: dict[str, str] | None = None) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
    return packed.getvalue()


def bring(gateway: Gateway, tar: bytes, **fields: str) -> httpx2.Response:
    return gateway.http.post("/v1/models", files={"file": ("model.tar", tar)}, data=fields)


def model_of(**changes: bytes) -> dict[str, bytes]:
    """A folder whose config is sound, and with no weights."""
    files = {"config.json": json.dumps(CONFIG).encode(), "tokenizer.json": b"{}", "model.safetensors": b""}
    return files | {
        name.replace("_json", ".json").replace("_safetensors", ".safetensors"): b for name, b in changes.items()
    }


def config(**changes: Any) -> bytes:
    return json.dumps(CONFIG | changes).encode()


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "code": (lambda: tar_of({"modeling.py": b"print()"}), "forbidden_file"),
    "auto_map": (lambda: tar_of(model_of(config_json=config(auto_map={}))), "unsafe_model"),
    "a link": (lambda: tar_of({}, links={"config.json": "/etc/passwd"}), "forbidden_file"),
    "an absolute path": (lambda: tar_of({"/config.json": b"{}"}), "forbidden_file"),
    "a way out": (lambda: tar_of({"../config.json": b"{}"}), "forbidden_file"),
    "a list of shards": (lambda: tar_of({"model.safetensors.index.json": b"{}"}), "forbidden_file"),
    "too many files": (lambda: tar_of({f"f/{n}.json": b"" for n in range(500)}), "forbidden_file"),
    "no tar": (lambda: b"PK" + bytes(2_000), "model_invalid"),
    "nothing": (lambda: tar_of({}), "model_invalid"),
    "empty weights": (lambda: tar_of(model_of()), "model_invalid"),
    "a header of 2^40": (lambda: tar_of(model_of(model_safetensors=(1 << 40).to_bytes(8, "little"))), "model_invalid"),
    "a billion words": (lambda: tar_of(model_of(config_json=config(vocab_size=10**9))), "model_invalid"),
    "a million layers": (lambda: tar_of(model_of(config_json=config(num_hidden_layers=10**6))), "model_invalid"),
    "a negative width": (lambda: tar_of(model_of(config_json=config(hidden_size=-16))), "model_invalid"),
    "a text for a number": (lambda: tar_of(model_of(config_json=config(hidden_size="8"))), "model_invalid"),
}


@pytest.fixture
def unharmed(gateway: Gateway) -> Iterator[Gateway]:
    """A gateway that is in the end as it was."""
    before = gateway.http.get("/v1/models").json()
    yield gateway
    assert gateway.artifacts() == [] and gateway.http.get("/v1/models").json() == before
    with gateway.parts.database.read() as tx:
        assert projects.stored_bytes(tx, "default") == 0


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_model_or_more_than_one_is_refused(unharmed: Gateway, what: str) -> None:
    tar, code = REFUSED[what]
    body = problem(bring(unharmed, tar()), 422, code)
    assert str(unharmed.parts.artifacts.root) not in json.dumps(body)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors"])
def test_a_pickle_is_never_opened(unharmed: Gateway, tmp_path: Path, name: str) -> None:
    marker = tmp_path / "marker"
    files = model_of() | {name: pickle.dumps(Marker(marker))}
    body = problem(bring(unharmed, tar_of(files)), 422, "forbidden_file" if name.endswith("bin") else "model_invalid")
    assert name in body["detail"] and not marker.exists()
    pickle.loads(files[name])
    assert marker.is_dir(), "the pickle would have left it"


def test_what_only_loading_shows_is_refused_at_the_door_too(unharmed: Gateway, tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model")
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    files["config.json"] = json.dumps(json.loads(files["config.json"]) | {"num_hidden_layers": 3}).encode()
    assert "lacks" in problem(bring(unharmed, tar_of(files)), 422, "model_invalid")["detail"]


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"name": "a b"}, 422, "invalid_value"),
        ({"name": "../x"}, 422, "invalid_value"),
        ({"name": ""}, 422, "invalid_value"),
        ({"name": "a" * 65}, 422, "invalid_value"),
        ({"name": "a" * 300}, 413, "too_large"),
        ({"purpose": "fine-tune"}, 422, "unknown_field"),
    ],
)
def test_a_form_that_cannot_be_is_refused(unharmed: Gateway, fields: dict[str, str], status: int, code: str) -> None:
    problem(bring(unharmed, tar_of({}), **fields), status, code)


def test_a_model_beyond_what_may_be_stored_or_sent_is_refused(serve: Callable[..., Gateway]) -> None:
    tar = tar_of(model_of())
    problem(bring(serve(quotas=Quotas(max_stored_bytes=100)), tar), 403, "storage_quota")
    problem(bring(serve(max_upload_bytes=len(tar) - 1), tar), 413, "too_large")
    problem(bring(serve(min_free_bytes=1 << 60), tar), 507, "storage_full")


def test_while_one_model_is_loaded_another_is_told_to_come_again(unharmed: Gateway) -> None:
    lock: threading.Lock = unharmed.parts.imports._one
    with lock:
        answer = bring(unharmed, tar_of(model_of()))
    problem(answer, 503, "overloaded")
    assert answer.headers["retry-after"] == "10"
