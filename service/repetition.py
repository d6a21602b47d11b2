"""POSTs that come twice: by their Idempotency-Key, or as the retry of a client that sends none.

OpenAI's client tells with each request how often it has tried (`x-stainless-retry-count`) and repeats the same body
within seconds; its first try is never taken for a repetition.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Depends, Header
from starlette.requests import Request

from service.callers import Project
from service.dependencies import Parts
from service.problems import add_headers
from service.store import repeats
from service.store.database import Database, Tx
from service.store.errors import Repeated
from service.store.records import RepeatRecord
from service.store.repeats import KEPT_SECONDS

RETRY_SECONDS: Final = 60.0
"""How long a client's own retries are recognised."""

_RETRIES = "x-stainless-retry-count"

Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="1 to 255 visible ASCII characters, for a day: the same request again does nothing more",
    ),
]
"""Its form was looked at when the caller was."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Repetition:
    """What one POST is known by when it comes again; without a key it is not."""

    request: Request
    project: str
    key: str | None
    """None where the body itself is the key."""
    window_seconds: float | None
    """How long the key counts; None where none does, negative for a request that is none's repetition."""
    clock: Callable[[], float]

    @property
    def counts(self) -> bool:
        """Whether the request may be another's repetition, or have one; else nobody asks for its digest."""
        return self.window_seconds is not None

    def once(self, database: Database, body_sha256: str, *, make: Callable[[], str]) -> str:
        """The id of what `make` made, or of what the same request made before; the answer says which.

        `make` calls `remember` in the transaction that makes it.

        Raises:
            Conflict: the key came with another body (`idempotency_mismatch`).
        """
        try:
            if self.counts:
                with database.read() as tx:
                    repeats.check(tx, self._record(body_sha256, ""), since=self._since)
            return make()
        except Repeated as earlier:
            add_headers(self.request, {"idempotency-replayed": "true"})
            return earlier.object_id

    def remember(self, tx: Tx, body_sha256: str, *, object_id: str) -> None:
        """This request made that object.

        Raises:
            Repeated, Conflict: another one with the key was faster.
        """
        if self.counts:
            repeats.remember(tx, self._record(body_sha256, object_id), since=self._since)

    def remembering(self, body_sha256: str, *, object_id: str) -> Callable[[Tx], None]:
        """`remember`, for whoever opens the transaction."""
        return lambda tx: self.remember(tx, body_sha256, object_id=object_id)

    @property
    def _since(self) -> float:
        """Before it the key was another request's."""
        assert self.window_seconds is not None, "asked only where the key counts"
        return math.inf if self.window_seconds < 0 else self.clock() - self.window_seconds

    def _record(self, body_sha256: str, object_id: str) -> RepeatRecord:
        return RepeatRecord(
            project=self.project,
            route=self.request.scope["route"].path,
            key=f"retry {body_sha256}" if self.key is None else f"key {self.key}",
            body_sha256=body_sha256,
            object_id=object_id,
            created_at=self.clock(),
        )


async def repetition(request: Request, parts: Parts, *, project: Project, idempotency_key: Key = None) -> Repetition:
    """What this request is known by."""
    key = idempotency_key
    if key is not None:
        return Repetition(request=request, project=project, key=key, window_seconds=KEPT_SECONDS, clock=parts.clock)
    tried = request.headers.get(_RETRIES, "")
    window = None
    if tried.isdecimal():
        window = RETRY_SECONDS if int(tried[:9]) > 0 else -1.0
    return Repetition(request=request, project=project, key=None, window_seconds=window, clock=parts.clock)


Once = Annotated[Repetition, Depends(repetition)]
