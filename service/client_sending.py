"""A request in httpx's words, and bytes that come back as a file: the same for both clients."""

import base64
import hashlib
import re
import secrets
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import ExitStack
from io import FileIO
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx2
import numpy as np
from numpy.typing import NDArray

from service.client_requests import Request, bad_answer
from service.schemas.embeddings import Embeddings
from service.schemas.vectors import from_base64

_DIGEST: Final = re.compile(r"sha-256=:([A-Za-z0-9+/=]+):")


def connection(base_url: str, *, api_key: str | None, timeout_seconds: float) -> dict[str, Any]:
    """How both clients reach the gateway; its address may end with /v1, as OpenAI's client wants it."""
    base_url = base_url.rstrip("/").removesuffix("/v1")
    return {
        "base_url": base_url,
        "headers": {} if api_key is None else {"authorization": f"Bearer {api_key}"},
        "timeout": timeout_seconds,
        "trust_env": not _is_loopback(base_url),  # no proxy of the environment can reach this machine's loopback
    }


def arguments(request: Request[Any], opened: ExitStack) -> dict[str, Any]:
    """The request in httpx's words; a file of it is open as long as `opened` is."""
    sent = request.sent
    asked: dict[str, Any] = {"params": request.params, "headers": request.headers}
    if sent.path is not None:
        file = opened.enter_context(CountedFile(sent.path, sent.on_bytes))
        own = {} if sent.sha256 is None else {"content-digest": _digest(sent.sha256)}
        files = {sent.form_name: (sent.path.name, file, None, own)}
        return {**asked, "files": files, "data": sent.form}
    if sent.lines is not None:
        asked["headers"]["content-type"] = "application/x-ndjson"
        return {**asked, "content": sent.lines}
    return asked if sent.body is None else {**asked, "json": sent.body}


async def later(lines: Iterable[bytes]) -> AsyncIterator[bytes]:
    """The lines for a client that is awaited."""
    for line in lines:
        yield line


def vectors_of(answer: Embeddings) -> NDArray[np.float32]:
    """The vectors of an answer in base64; (n, D)."""
    return np.stack([from_base64(str(item.embedding)) for item in answer.data])


class CountedFile(FileIO):
    """A file that tells how much of it was read."""

    def __init__(self, path: Path, on_bytes: Callable[[int], None]) -> None:
        super().__init__(path)
        self._on_bytes = on_bytes

    def read(self, size: int | None = -1, /) -> bytes:
        """The next bytes."""
        chunk = super().read(size)
        self._on_bytes(len(chunk))
        return chunk


class Saving:
    """A good answer that becomes a file, whole or not at all: its place is taken once its digest proved to be right."""

    def __init__(self, got: httpx2.Response, path: Path, *, on_bytes: Callable[[int], None]) -> None:
        self._got = got
        self._path = path
        self._on_bytes = on_bytes
        self._part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
        self._file = self._part.open("xb")
        self._sha256 = hashlib.sha256()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()
        try:
            if error is None:
                self._require_whole()
                self._part.replace(self._path)
        finally:
            self._part.unlink(missing_ok=True)

    def add(self, chunk: bytes) -> None:
        """These are the next bytes."""
        self._file.write(chunk)
        self._sha256.update(chunk)
        self._on_bytes(len(chunk))

    def _require_whole(self) -> None:
        """Raise `ApiError` if the bytes are not those that the server has stored."""
        stated = _DIGEST.search(self._got.headers.get("repr-digest", ""))
        if stated is not None and base64.b64decode(stated[1]) != self._sha256.digest():
            message = f"{self._path.name} came with other bytes than its Repr-Digest says; ask for it again"
            raise bad_answer(self._got, "digest_mismatch", message=message, body=None)


def _digest(sha256: str) -> str:
    return f"sha-256=:{base64.b64encode(bytes.fromhex(sha256)).decode()}:"


def _is_loopback(url: str) -> bool:
    """Whether it is this machine's own loopback interface, which no proxy of the environment can reach."""
    host = httpx2.URL(url).host
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
