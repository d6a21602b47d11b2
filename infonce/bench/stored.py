"""A collection as a benchmark makes and fills it: its documents as they are sent, and what the service says of it."""

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Any, Final

import httpx2
import numpy as np
from numpy.typing import NDArray

from infonce.bench.callers import Load, send
from infonce.bench.neighbours import Vectors
from infonce.errors import InfonceError

NDJSON: Final = "application/x-ndjson"
JSON: Final = "application/json"
PARTS: Final = 200
"""Values of the metadata key `part`, all of them as frequent: a filter may leave half a percent."""

_COLLECTIONS: Final = "/v1/collections"
_STREAMED: Final = 20_000
"""Documents of a call that fills a collection."""
_CALL_BYTES: Final = 24 << 20  # an array may have 32 MB
_NUMBER_BYTES: Final = 24  # of a float32 that was written as JSON
_SECONDS: Final = 600.0
_POLL_SECONDS: Final = 0.05
_ENDED_BADLY: Final = {"failed", "cancelled"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Documents:
    """Vectors with the texts and the metadata that they are stored with."""

    vectors: Vectors
    texts: Sequence[str]
    """Taken in turn, where there are fewer than vectors."""
    parts: NDArray[np.int64]
    """(n,), from 0 to `PARTS`."""

    @property
    def at_once(self) -> int:
        """How many a JSON array may hold, at most 1,000."""
        return max(1, min(1_000, _CALL_BYTES // (_NUMBER_BYTES * int(self.vectors.shape[1]))))

    def lines(self, places: range, *, as_lists: bool = False) -> Iterator[bytes]:
        """These documents as JSON, each with its vector as base64 or as a list of numbers."""
        for place in places:
            vector = self.vectors[place]
            document = {
                "id": f"d{place}",
                "text": f"{place}: {self.texts[place % len(self.texts)]}",
                "metadata": {"part": int(self.parts[place])},
                "vector": vector.tolist() if as_lists else encoded(vector),
            }
            yield json.dumps(document).encode()


def encoded(vector: Vectors) -> str:
    """The vector as base64 of little-endian float32."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


def array(lines: Iterator[bytes]) -> bytes:
    """The body with these documents."""
    return b'{"documents": [' + b", ".join(lines) + b"]}"


class Collection:
    """One collection of a gateway."""

    def __init__(self, url: str, name: str) -> None:
        self.url = f"{url}{_COLLECTIONS}/{name}"
        self._root, self._name = url, name

    def make(self, *, model: str | None, dimension: int | None) -> None:
        """It is there and empty.

        Raises:
            InfonceError: the gateway refused it.
        """
        body = {"name": self._name, "model": model, "dimension": dimension}
        _asked("POST", self._root + _COLLECTIONS, body=body)

    def drop(self) -> None:
        """It is gone."""
        _asked("DELETE", self.url)

    def write(self, bodies: Sequence[bytes], *, media_type: str = JSON, callers: int = 1) -> Load:
        """All of the bodies were stored, by so many callers, each on one connection.

        Raises:
            InfonceError: one was refused.
        """
        return send(f"{self.url}/documents", bodies, callers=callers, media_type=media_type)

    def fill(self, documents: Documents) -> float:
        """All documents are stored; the seconds without those of writing the bodies."""
        seconds, count = 0.0, len(documents.vectors)
        for start in range(0, count, _STREAMED):
            body = b"\n".join(documents.lines(range(start, min(start + _STREAMED, count))))
            seconds += self.write([body], media_type=NDJSON).seconds
        return seconds

    def wait_until_indexed(self) -> None:
        """Every document can be found in the version that answers.

        Raises:
            InfonceError: a job that makes it has failed.
        """
        while True:
            state = _asked("GET", self.url)
            if state["active_version"] is not None and not state["pending"]:
                return
            self._check_jobs()
            sleep(_POLL_SECONDS)

    def wait_until_ended(self, job: str) -> float:
        """The job has ended well; how long that was waited for.

        Raises:
            InfonceError: it has failed.
        """
        began = monotonic()
        while (state := _asked("GET", f"{self._root}/v1/jobs/{job}"))["status"] != "succeeded":
            if state["status"] in _ENDED_BADLY:
                raise InfonceError(f"the job {job} has {state['status']}: {state['error']}")
            sleep(_POLL_SECONDS)
        return monotonic() - began

    def _check_jobs(self) -> None:
        for job in _asked("GET", f"{self._root}/v1/jobs")["data"]:
            if job["status"] in _ENDED_BADLY:
                raise InfonceError(f"the job {job['id']} has {job['status']}: {job['error']}")


def _asked(method: str, url: str, *, body: dict[str, Any] | None = None) -> dict[str, Any]:
    with httpx2.Client(timeout=_SECONDS, trust_env=False) as http:
        answer = http.request(method, url, json=body)
    if not answer.is_success:
        raise InfonceError(f"the gateway answered {answer.status_code}: {answer.text[:200]}")
    found: dict[str, Any] = answer.json()
    return found
